// What every refusal in Caged carries: a class, a stable reason, what was found, and what to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace caged {

// The class of a failure. Transports map it to their own vocabulary (HTTP status, JSON-RPC code, exit code).
enum class errc : std::uint8_t {
  unset = 0,          // never a real failure
  invalid_argument,   // 400: the input does not fit; `path` names the place in it
  unauthenticated,    // 401
  permission_denied,  // 403: scope or policy
  not_found,          // 404
  conflict,           // 409: the state does not allow it
  too_large,          // 413
  limit_exceeded,     // 429: a quota or rate
  cancelled,          // 499: the caller went away
  internal,           // 500: a bug of ours
  unsupported,        // 501: this backend or machine cannot do it
  unavailable,        // 503: lost or not ready; trying again may help
  deadline_exceeded,  // 504
  insufficient_storage,  // 507: disk full
};

// A failure a caller can expect. Value type, cheap to move.
struct error {
  errc code = errc::internal;
  std::string reason;   // stable, snake_case, for programs: "sandbox_not_found"
  std::string message;  // for people: what was found and what was expected
  std::string action;   // for people: what to do next; may be empty only where nothing can be done
  std::string path;     // JSON pointer into the input, for invalid_argument ("/resources/cpu")
};

// "limit_exceeded" and so on; stable.
std::string_view to_string(errc code) noexcept;
// The HTTP status a class maps to, 400..599.
int http_status(errc code) noexcept;
// One line for logs and terminals: "message (reason). Action: action".
std::string describe(const error& e);

}  // namespace caged
