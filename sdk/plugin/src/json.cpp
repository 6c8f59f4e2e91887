#include <caged/json.hpp>

#include <set>
#include <vector>

namespace caged {
namespace {

constexpr std::size_t max_depth = 64;

// Counts depth and member names while nlohmann parses, since its DOM keeps the last of two equal names silently.
class strict_reader {
 public:
  bool operator()(int, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        names_.emplace_back();
        return enter();
      case json::parse_event_t::array_start:
        names_.emplace_back();
        return enter();
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        names_.pop_back();
        return true;
      case json::parse_event_t::key:
        if (!names_.back().insert(parsed.get_ref<const std::string&>()).second)
          throw std::invalid_argument("the member name \"" + parsed.get<std::string>() +
                                      "\" stands twice in one object");
        return true;
      default:
        return true;
    }
  }

 private:
  bool enter() {
    if (names_.size() > max_depth) throw std::invalid_argument("nested deeper than 64 levels");
    return true;
  }
  std::vector<std::set<std::string>> names_;
};

std::string place(std::string_view text, std::size_t byte) {
  std::size_t line = 1, column = 1;
  for (std::size_t i = 0; i + 1 < byte && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

error malformed(std::string message) {
  return fail(errc::invalid_argument, "malformed_json", std::move(message), "Send one well-formed JSON document.");
}

}  // namespace

result<json> parse_json(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return malformed("the JSON text is empty");
  try {
    // std::function would copy the reader, hence the reference.
    strict_reader reader;
    return json::parse(text.begin(), text.end(), std::ref(reader));
  } catch (const json::parse_error& e) {
    std::string what = e.what();
    if (const auto cut = what.find("syntax error"); cut != std::string::npos) what = what.substr(cut);
    return malformed("the text is not JSON at " + place(text, e.byte) + ": " + what);
  } catch (const std::invalid_argument& e) {
    return malformed(std::string("the JSON text is refused: ") + e.what());
  } catch (const json::exception& e) {
    return malformed(std::string("the JSON text is refused: ") + e.what());
  }
}

std::string to_text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace caged
