// The messages inside the frames: requests, answers, notices, failures and the handshake. Unknown fields are ignored.
#pragma once

#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace caged::wire {

using json = nlohmann::json;

// Generations of the protocol this code speaks. The lower of both sides is spoken; none in common ends the stream.
inline constexpr int generation = 1;
inline constexpr int oldest_generation = 1;

// A refusal as it travels. `code` is a name of caged::errc ("not_found"); the rest is as in caged::error.
struct failure {
  std::string code, reason, message, action, path;
};

// A failure thrown, for code that has nothing better.
class failed : public std::exception {
 public:
  explicit failed(failure f) : failure_(std::move(f)) {}
  failed(std::string code, std::string reason, std::string message, std::string action = {}, std::string path = {})
      : failure_{std::move(code), std::move(reason), std::move(message), std::move(action), std::move(path)} {}
  const char* what() const noexcept override { return failure_.message.c_str(); }
  const failure& get() const noexcept { return failure_; }

 private:
  failure failure_;
};

// Parses untrusted text: at most 64 levels deep, valid UTF-8. nullopt for anything else.
std::optional<json> parse(std::string_view text);
// Compact text; invalid UTF-8 becomes U+FFFD.
std::string to_text(const json& value);

json to_json(const failure& f);
// Missing or ill-typed fields become empty; an unknown code stays as it is.
failure failure_from(const json& value);

// {"hello":{"protocol":"caged-wire","generation":1,"oldest":1, …extra}}
json hello(json extra = json::object());
// The generation both speak, or a failure (code unsupported, reason generation_mismatch or bad_handshake).
struct agreement {
  int generation = 0;
  json peer;  // the other side's hello, with its extras
};
agreement agree(const json& peer_hello);

json request(std::uint64_t id, std::string_view operation, json arguments);  // {"id","op","args"}
json answer(std::uint64_t id, json value);                                   // {"id","ok"}
json refusal(std::uint64_t id, const failure& f);                            // {"id","error"}
json notice(std::string_view type, json data);                               // {"notice","data"}
json cancel(std::uint64_t id);                                               // {"cancel"}

}  // namespace caged::wire
