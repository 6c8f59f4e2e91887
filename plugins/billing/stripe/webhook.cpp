#include "webhook.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>

namespace caged::billing::stripe {
namespace {

constexpr std::int64_t tolerance = 300;

std::string hmac_hex(const std::string& secret, const std::string& text) {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), digest.data(), &length);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < length; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

error refused(const char* what) {
  return fail(errc::unauthenticated, "bad_signature", std::string("the webhook's signature ") + what,
              "Send it from Stripe, with the secret of plugins.billing.stripe.webhook_secret_file.");
}

}  // namespace

result<void> check_signature(std::string_view header, std::string_view body, const std::string& secret,
                             std::int64_t now_seconds) {
  std::string_view time;
  for (auto rest = header; !rest.empty();) {
    const auto comma = rest.find(',');
    const auto part = rest.substr(0, comma);
    if (part.starts_with("t=")) time = part.substr(2);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  std::int64_t then = 0;
  const auto [end, bad] = std::from_chars(time.data(), time.data() + time.size(), then);
  if (time.empty() || bad != std::errc{} || end != time.data() + time.size()) return refused("names no time");
  if (secret.empty() || then < now_seconds - tolerance || then > now_seconds + tolerance) return refused("is too old");
  const std::string right = hmac_hex(secret, std::string(time) + "." + std::string(body));
  bool found = false;
  for (auto rest = header; !rest.empty();) {
    const auto comma = rest.find(',');
    const auto part = rest.substr(0, comma);
    if (part.starts_with("v1=") && part.size() == 3 + right.size())
      found |= CRYPTO_memcmp(part.data() + 3, right.data(), right.size()) == 0;
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  if (!found) return refused("does not fit");
  return {};
}

}  // namespace caged::billing::stripe
