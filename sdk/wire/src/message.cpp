#include <caged/wire/message.hpp>

#include <algorithm>

namespace caged::wire {
namespace {

constexpr int max_depth = 64;
constexpr std::string_view protocol_name = "caged-wire";

std::string text_of(const json& value, const char* key) {
  const auto it = value.find(key);
  return it != value.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// Generations travel as JSON; anything that is not a small whole number is no generation.
int generation_of(const json& value, const char* key) {
  const auto it = value.find(key);
  if (it == value.end() || !it->is_number_integer()) return 0;
  if (it->is_number_unsigned()) return static_cast<int>(std::min<std::uint64_t>(it->get<std::uint64_t>(), 1'000'000));
  return static_cast<int>(std::clamp<std::int64_t>(it->get<std::int64_t>(), 0, 1'000'000));
}

// nlohmann parses without recursion but prints with it, so the depth is checked before anything is kept.
bool too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::optional<json> parse(std::string_view text) {
  if (too_deep(text)) return std::nullopt;
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

std::string to_text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json to_json(const failure& f) {
  json value{{"code", f.code}, {"reason", f.reason}, {"message", f.message}};
  if (!f.action.empty()) value["action"] = f.action;
  if (!f.path.empty()) value["path"] = f.path;
  return value;
}

failure failure_from(const json& value) {
  failure f;
  if (!value.is_object()) return f;
  f.code = text_of(value, "code");
  f.reason = text_of(value, "reason");
  f.message = text_of(value, "message");
  f.action = text_of(value, "action");
  f.path = text_of(value, "path");
  return f;
}

json hello(json extra) {
  if (!extra.is_object()) extra = json::object();
  extra["protocol"] = protocol_name;
  extra["generation"] = generation;
  extra["oldest"] = oldest_generation;
  json message = json::object();
  message["hello"] = std::move(extra);
  return message;
}

agreement agree(const json& peer_hello) {
  const json* hello_part = nullptr;
  if (peer_hello.is_object()) {
    const auto it = peer_hello.find("hello");
    if (it != peer_hello.end() && it->is_object()) hello_part = &*it;
  }
  if (hello_part == nullptr || text_of(*hello_part, "protocol") != protocol_name)
    throw failed("unsupported", "bad_handshake", "the other side did not open with a caged-wire hello",
                 "Connect to a caged-agent started with --listen-fd.");
  const int theirs = generation_of(*hello_part, "generation");
  const int their_oldest = std::max(1, generation_of(*hello_part, "oldest"));
  const int spoken = std::min(theirs, generation);
  if (theirs < 1 || spoken < oldest_generation || spoken < their_oldest)
    throw failed("unsupported", "generation_mismatch",
                 "the other side speaks generations " + std::to_string(their_oldest) + " to " + std::to_string(theirs) +
                     " of caged-wire, this side " + std::to_string(oldest_generation) + " to " +
                     std::to_string(generation),
                 "Install the same version of Caged on both sides.");
  return agreement{spoken, *hello_part};
}

json request(std::uint64_t id, std::string_view operation, json arguments) {
  json message{{"id", id}, {"op", operation}};
  message["args"] = std::move(arguments);
  return message;
}

json answer(std::uint64_t id, json value) {
  json message{{"id", id}};
  message["ok"] = std::move(value);
  return message;
}

json refusal(std::uint64_t id, const failure& f) {
  json message{{"id", id}};
  message["error"] = to_json(f);
  return message;
}

json notice(std::string_view type, json data) {
  json message{{"notice", type}};
  message["data"] = std::move(data);
  return message;
}

json cancel(std::uint64_t id) { return json{{"cancel", id}}; }

}  // namespace caged::wire
