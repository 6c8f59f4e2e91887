#include <caged/mcp_front/seal.hpp>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <caged/base64.hpp>
#include <caged/random.hpp>

namespace caged::mcp {

hmac_sealer::hmac_sealer() : key_{} { random_bytes(key_); }

std::string hmac_sealer::mac(const std::string& text) const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ::HMAC(::EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), size);
}

std::string hmac_sealer::seal(const std::string& text) const { return base64_encode(mac(text) + text); }

std::optional<std::string> hmac_sealer::open(const std::string& sealed) const {
  const auto bytes = base64_decode(sealed);
  // One text has one seal: what decodes to the same bytes in another spelling is none.
  if (!bytes || bytes->size() < 32 || base64_encode(*bytes) != sealed) return std::nullopt;
  std::string text = bytes->substr(32);
  if (!equal_constant_time(mac(text), std::string_view(*bytes).substr(0, 32))) return std::nullopt;
  return text;
}

}  // namespace caged::mcp
