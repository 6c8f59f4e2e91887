#include <caged/mcp/json_text.hpp>

#include <vector>

namespace caged::mcp {
namespace {

// Builds the document and stops at the first thing that is not allowed. Keeps its own stack, so depth costs no frames.
class builder {
 public:
  explicit builder(json_limits limits) : limits_(limits) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value); }
  bool number_float(json::number_float_t value, const json::string_t&) { return add(value); }
  bool string(json::string_t& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(json::string_t& name) {
    auto [it, fresh] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!fresh) return refuse("the member \"" + name.substr(0, 80) + "\" is given twice in one object");
    slot_ = &it->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) {
    return refuse("not JSON in UTF-8, near byte " + std::to_string(position));
  }

  json root;
  std::string fault;

 private:
  template <class Value>
  json* put(Value&& value) {
    if (++count_ > limits_.values) {
      refuse("more than " + std::to_string(limits_.values) + " values");
      return nullptr;
    }
    if (open_.empty()) {
      root = std::forward<Value>(value);
      return &root;
    }
    json& parent = *open_.back();
    if (parent.is_array()) return &parent.get_ref<json::array_t&>().emplace_back(std::forward<Value>(value));
    *slot_ = std::forward<Value>(value);
    return slot_;
  }
  template <class Value>
  bool add(Value&& value) {
    return put(std::forward<Value>(value)) != nullptr;
  }
  bool open(json container) {
    if (open_.size() >= limits_.depth) return refuse("nested deeper than " + std::to_string(limits_.depth) + " levels");
    json* placed = put(std::move(container));
    if (placed == nullptr) return false;
    // A pointer into an array stays valid: nothing is added to the array before this element is closed.
    open_.push_back(placed);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool refuse(std::string why) {
    if (fault.empty()) fault = std::move(why);
    return false;
  }

  json_limits limits_;
  std::vector<json*> open_;
  json* slot_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace

parsed_json parse_strict(std::string_view text, json_limits limits) {
  builder made(limits);
  const bool whole = json::sax_parse(text.begin(), text.end(), &made);
  if (!whole && made.fault.empty()) made.fault = "not JSON";
  if (!made.fault.empty()) return {nullptr, std::move(made.fault)};
  return {std::move(made.root), {}};
}

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

namespace {

// Length of the UTF-8 sequence at `at`, 0 where there is none.
std::size_t sequence(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned c = byte(at), n = byte(at + 1);
  const auto follows = [](unsigned b) { return (b & 0xc0) == 0x80; };
  if (c >= 0xc2 && c < 0xe0) return follows(n) ? 2 : 0;
  if (c >= 0xe0 && c < 0xf0) {
    if (!follows(n) || !follows(byte(at + 2)) || (c == 0xe0 && n < 0xa0) || (c == 0xed && n > 0x9f)) return 0;
    return 3;
  }
  if (c >= 0xf0 && c < 0xf5) {
    if (!follows(n) || !follows(byte(at + 2)) || !follows(byte(at + 3))) return 0;
    return (c == 0xf0 && n < 0x90) || (c == 0xf4 && n > 0x8f) ? 0 : 4;
  }
  return 0;
}

void append_escape(std::string& out, unsigned char c) {
  static constexpr char hex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out.append("\\u00").append(1, hex[c >> 4]).append(1, hex[c & 15]);
  }
}

}  // namespace

void append_quoted(std::string& out, std::string_view text) {
  out.reserve(out.size() + text.size() + text.size() / 16 + 2);
  out += '"';
  std::size_t plain = 0, at = 0;
  const auto flush = [&] { out.append(text, plain, at - plain); };
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c < 0x80) {
      if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
        ++at;
        continue;
      }
      flush();
      append_escape(out, c);
      plain = ++at;
      continue;
    }
    const std::size_t length = sequence(text, at);
    if (length != 0) {
      at += length;
      continue;
    }
    flush();
    out += "\xef\xbf\xbd";
    plain = ++at;
  }
  flush();
  out += '"';
}

}  // namespace caged::mcp
