// Stripe's HTTP API, as far as it is used: form-encoded requests with idempotency keys, JSON answers.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <string>
#include <utility>
#include <vector>

namespace caged::billing::stripe {

using form = std::vector<std::pair<std::string, std::string>>;

struct api_access {
  std::string base_url, key;
};

// application/x-www-form-urlencoded. Pure.
std::string encode(const form& fields);

// Blocks, at most 30 s without a byte. `idempotency` "" = none. Errors: what Stripe says, as permission_denied (key),
// invalid_argument (request) or unavailable (all else, which may be tried again with the same idempotency key).
result<json> call_api(const api_access& to, const std::string& method, const std::string& path, const form& fields,
                      const std::string& idempotency);

}  // namespace caged::billing::stripe
