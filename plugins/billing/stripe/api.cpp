#include "api.hpp"

#include <caged/http_client.hpp>

namespace caged::billing::stripe {
namespace {

std::string escaped(const std::string& text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
  return out;
}

error refusal(const http::client_response& answer) {
  std::string message = "Stripe answered " + std::to_string(answer.status);
  const json body = json::parse(answer.body, nullptr, false);
  if (body.is_object() && body.contains("error") && body["error"].is_object())
    message += ": " + body["error"].value("message", body["error"].value("code", "no reason given"));
  if (answer.status == 401 || answer.status == 403)
    return fail(errc::permission_denied, "stripe_key_refused", message, "Check the key in plugins.billing.stripe.key_file.");
  if (answer.status == 400 || answer.status == 404 || answer.status == 402)
    return fail(errc::invalid_argument, "stripe_refused", message, "Check plugins.billing.stripe, and Stripe's own log.");
  return fail(errc::unavailable, "stripe_unavailable", message, "It is tried again.");
}

}  // namespace

std::string encode(const form& fields) {
  std::string out;
  for (const auto& [name, value] : fields) out += (out.empty() ? "" : "&") + escaped(name) + "=" + escaped(value);
  return out;
}

result<json> call_api(const api_access& to, const std::string& method, const std::string& path, const form& fields,
                      const std::string& idempotency) {
  http::client_options options;
  options.base_url = to.base_url;
  options.api_key = to.key;
  options.max_body = 4u << 20;
  auto client = http::client::make(options);
  if (!client) return client.error();
  http::client_request request;
  request.method = method;
  request.target = path;
  const bool sends = method == "POST";
  if (sends) {
    request.body = encode(fields);
    request.fields.emplace_back("content-type", "application/x-www-form-urlencoded");
  } else if (!fields.empty()) {
    request.target += "?" + encode(fields);
  }
  if (!idempotency.empty()) request.fields.emplace_back("idempotency-key", idempotency);
  auto answer = client->request(std::move(request));
  if (!answer) return answer.error();
  if (!answer->ok()) return refusal(*answer);
  json body = json::parse(answer->body, nullptr, false);
  if (body.is_object()) return body;
  return fail(errc::unavailable, "stripe_unavailable", "Stripe's answer is no JSON object", "It is tried again.");
}

}  // namespace caged::billing::stripe
