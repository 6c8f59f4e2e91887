#include "core/judgement/delivery.hpp"

#include <caged/http_client.hpp>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

#include "core/base/time.hpp"

namespace caged::judgement {
namespace {

std::string hmac_hex(const std::string& secret, const std::string& text) {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < length; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

}  // namespace

std::string letter_body(const std::string& channel, const json& alert) {
  const std::string text = "[" + alert.value("severity", "") + "] " + alert.value("title", "") + " in " + alert.value("sandbox_id", "") + ": " +
                           alert.value("message", "");
  json body = alert;
  // Text of a sandbox must not ping a whole channel.
  if (channel == "slack") body = {{"text", text}, {"parse", "none"}, {"link_names", false}};
  if (channel == "discord") body = {{"content", text.substr(0, 1900)}, {"allowed_mentions", {{"parse", json::array()}}}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

result<void> send(const letter& l) {
  const auto path = l.url.find('/', l.url.find("://") + 3);
  http::client_options options;
  options.base_url = l.url.substr(0, path);
  options.max_body = 1 << 16;
  auto client = http::client::make(options);
  if (!client) return client.error();
  http::client_request request;
  request.method = "POST";
  request.target = path == std::string::npos ? "/" : l.url.substr(path);
  request.body = l.body;
  request.silence = std::chrono::seconds(10);
  const std::string time = std::to_string(base::now_us() / 1'000'000);
  request.fields = {{"content-type", "application/json"}, {"x-caged-delivery", l.id}, {"x-caged-timestamp", time}};
  if (!l.secret.empty()) request.fields.push_back({"x-caged-signature", "sha256=" + hmac_hex(l.secret, time + "." + l.body)});
  auto answer = client->request(request);
  if (!answer) return answer.error();
  if (!answer->ok())
    return fail(errc::unavailable, "channel_refused", "the channel answered " + std::to_string(answer->status), "Check its URL.");
  return {};
}

}  // namespace caged::judgement
