#include <caged/random.hpp>

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <vector>

namespace caged {
namespace {

std::string hex(std::span<const unsigned char> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const unsigned char b : bytes) {
    out += digits[b >> 4];
    out += digits[b & 15];
  }
  return out;
}

}  // namespace

void random_bytes(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) std::abort();  // no kernel that runs Caged lacks it; a weak key would be worse than no server
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

std::string random_id(std::string_view prefix, std::size_t length) {
  static constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr unsigned fair = 256 - 256 % alphabet.size();  // bytes from here on would favour the first letters
  std::string out(prefix);
  while (out.size() < prefix.size() + length) {
    std::array<std::byte, 32> pool;
    random_bytes(pool);
    for (const std::byte b : pool) {
      const auto value = std::to_integer<unsigned>(b);
      if (value < fair && out.size() < prefix.size() + length) out += alphabet[value % alphabet.size()];
    }
  }
  return out;
}

std::string random_hex(std::string_view prefix, std::size_t bytes) {
  std::vector<std::byte> secret(bytes);
  random_bytes(secret);
  return std::string(prefix) + hex({reinterpret_cast<const unsigned char*>(secret.data()), secret.size()});
}

bool equal_constant_time(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return hex(digest);
}

}  // namespace caged
