// ECMA-262 regular expressions in RE2's syntax. RE2 because the text that is matched comes from outside: its time is
// linear in the text, which no backtracking engine can promise. Refused for that: lookahead and lookbehind,
// back references. Approximated: \w, \d and \b are ASCII as in ECMA-262; \S inside a class is ASCII.
#include <re2/re2.h>

#include "json_schema_node.hpp"

namespace caged::schema {
namespace {

constexpr std::string_view spaces =
    R"(\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff})";

struct property_name {
  std::string_view ecma, re2;
};
constexpr property_name property_names[] = {
    {"Letter", "L"},
    {"Lowercase_Letter", "Ll"},
    {"Uppercase_Letter", "Lu"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Control", "Cc"},
    {"Lowercase", "Ll"},
    {"Uppercase", "Lu"},
    {"Alphabetic", "L"},
};

class translator {
 public:
  explicit translator(std::string_view text) : in_(text) {}

  // What is wrong; empty when out() holds the translation.
  std::string run() {
    while (at_ < in_.size() && problem_.empty()) {
      const char c = in_[at_++];
      if (c == '\\')
        escape();
      else if (in_class_)
        inside_class(c);
      else
        outside_class(c);
    }
    if (problem_.empty() && in_class_) problem_ = "a character class is not closed";
    return problem_;
  }
  const std::string& out() const { return out_; }

 private:
  bool next_is(std::string_view text) const { return in_.substr(at_, text.size()) == text; }

  void inside_class(char c) {
    if (c == ']') in_class_ = false;
    if (c == '[') out_ += '\\';  // "[:" would begin a POSIX class in RE2
    out_ += c;
  }

  void outside_class(char c) {
    if (c == '[') return open_class();
    if (c == '(' && next_is("?")) return group();
    if (c == '.')
      out_ += R"([^\n\r\x{2028}\x{2029}])";
    else
      out_ += c;
  }

  void open_class() {
    if (next_is("^]")) {
      out_ += "(?s:.)";
      at_ += 2;
    } else if (next_is("]")) {
      out_ += R"([^\x{0}-\x{10ffff}])";
      at_ += 1;
    } else {
      out_ += '[';
      in_class_ = true;
      if (next_is("^")) out_ += in_[at_++];
    }
  }

  void group() {
    if (next_is("?=") || next_is("?!") || next_is("?<=") || next_is("?<!")) {
      problem_ = "lookahead and lookbehind are not supported";
    } else if (next_is("?:")) {
      out_ += "(?:";
      at_ += 2;
    } else if (next_is("?<")) {
      out_ += "(?P<";
      at_ += 2;
    } else {
      problem_ = "\"(" + std::string(in_.substr(at_, 2)) + "\" is not ECMA-262";
    }
  }

  void escape() {
    if (at_ >= in_.size()) {
      problem_ = "the pattern ends with a lone backslash";
      return;
    }
    const char c = in_[at_++];
    switch (c) {
      case 'd':
      case 'D':
      case 'w':
      case 'W':
      case 't':
      case 'n':
      case 'v':
      case 'f':
      case 'r':
        out_ += {'\\', c};
        return;
      case 'b':
        out_ += in_class_ ? "\\x08" : "\\b";
        return;
      case 'B':
        out_ += "\\B";
        return;
      case 's':
        out_ += in_class_ ? std::string(spaces) : "[" + std::string(spaces) + "]";
        return;
      case 'S':
        out_ += in_class_ ? "\\S" : "[^" + std::string(spaces) + "]";
        return;
      case '0':
        out_ += "\\x00";
        return;
      case 'x':
        hexadecimal(2);
        return;
      case 'u':
        unicode();
        return;
      case 'c':
        control();
        return;
      case 'p':
      case 'P':
        property(c);
        return;
      case 'k':
        problem_ = "back references are not supported";
        return;
      default:
        break;
    }
    if (c >= '1' && c <= '9')
      problem_ = "back references are not supported";
    else if (std::isalpha(static_cast<unsigned char>(c)))
      problem_ = std::string("the escape \\") + c + " is not ECMA-262";
    else if (static_cast<unsigned char>(c) < 0x80)
      out_ += {'\\', c};
    else
      out_ += c;
  }

  std::optional<unsigned> number(std::size_t digits) {
    if (at_ + digits > in_.size()) return std::nullopt;
    unsigned value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = in_[at_ + i];
      if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
      value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    at_ += digits;
    return value;
  }

  void put(unsigned code) {
    char text[16];
    std::snprintf(text, sizeof text, "\\x{%x}", code);
    out_ += text;
  }

  void hexadecimal(std::size_t digits) {
    if (const auto value = number(digits))
      put(*value);
    else
      problem_ = "an escape lacks its hexadecimal digits";
  }

  void unicode() {
    if (next_is("{")) {
      const auto end = in_.find('}', at_);
      const auto length = end == std::string_view::npos ? 0 : end - at_ - 1;
      ++at_;
      if (length == 0 || length > 6)
        problem_ = "\\u{…} lacks its hexadecimal digits";
      else
        hexadecimal(length), ++at_;
      return;
    }
    const auto first = number(4);
    if (!first) {
      problem_ = "\\u lacks its four hexadecimal digits";
    } else if (*first >= 0xd800 && *first < 0xdc00 && next_is("\\u")) {
      at_ += 2;
      const auto second = number(4);
      if (!second || *second < 0xdc00 || *second > 0xdfff)
        problem_ = "a surrogate stands alone";
      else
        put(0x10000 + ((*first - 0xd800) << 10) + (*second - 0xdc00));
    } else {
      put(*first);
    }
  }

  void control() {
    if (at_ < in_.size() && std::isalpha(static_cast<unsigned char>(in_[at_])))
      put(static_cast<unsigned>(in_[at_++]) % 32);
    else
      problem_ = "\\c lacks its letter";
  }

  void property(char letter) {
    const auto end = in_.find('}', at_);
    if (!next_is("{") || end == std::string_view::npos) {
      problem_ = "\\p lacks its {name}";
      return;
    }
    std::string_view name = in_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    if (const auto equals = name.find('='); equals != std::string_view::npos) name.remove_prefix(equals + 1);
    for (const auto& row : property_names)
      if (row.ecma == name) name = row.re2;
    out_ += std::string("\\") + letter + "{" + std::string(name) + "}";
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  std::string problem_;
  bool in_class_ = false;
};

}  // namespace

bool pattern::matches(const std::string& value) const { return re2::RE2::PartialMatch(value, *expression); }

result<pattern> compile_pattern(const std::string& text) {
  translator t(text);
  std::string problem = t.run();
  pattern p;
  p.text = text;
  if (problem.empty()) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(4 << 20);
    auto expression = std::make_shared<re2::RE2>(t.out(), options);
    if (!expression->ok()) problem = expression->error();
    p.expression = std::move(expression);
  }
  if (problem.empty()) return p;
  return fail(errc::invalid_argument, "pattern_malformed", "the pattern \"" + text + "\" is refused: " + problem,
              "Use ECMA-262 syntax without lookaround and back references.");
}

}  // namespace caged::schema
