// One alert to one channel: the shapes that webhooks, Slack and Discord expect, and the request that carries them.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <string>

namespace caged::judgement {

struct letter {
  std::string url, secret;  // secret: "" = not signed
  std::string id;           // the same in every attempt, so that a receiver can tell repeats
  std::string body;         // JSON
};

std::string letter_body(const std::string& channel, const json& alert);
// Blocks, at most some seconds. Signed by HMAC-SHA256 over "<time>.<body>": headers X-Caged-Timestamp, X-Caged-Signature
// ("sha256=<hex>") and X-Caged-Delivery.
result<void> send(const letter& l);

}  // namespace caged::judgement
