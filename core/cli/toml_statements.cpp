#include <core/cli/toml_statements.hpp>

#include <algorithm>

namespace caged::cli {
namespace {

class scanner {
 public:
  explicit scanner(std::string_view text) : text_(text) {}

  result<std::vector<toml_statement>> run() {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
    std::vector<toml_statement> all;
    while (skip_blank()) {
      toml_statement s;
      s.begin = at_;
      const bool read = peek() == '[' ? header(s) : assignment(s);
      if (!read || !line_end())
        return fail(
            errc::invalid_argument, "bad_toml",
            "line " + std::to_string(1 + std::count(text_.begin(), text_.begin() + std::min(at_, text_.size()), '\n')) +
                " is no TOML: " + (why_.empty() ? "there is something behind the value" : why_),
            "Mend the file, or add the server by hand.");
      s.end = at_;
      all.push_back(std::move(s));
    }
    return all;
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool over() const { return at_ >= text_.size(); }
  bool refuse(const char* why) {
    why_ = why;
    return false;
  }
  void spaces() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }
  void comment() {
    if (peek() == '#')
      while (!over() && peek() != '\n') ++at_;
  }
  // To the next statement; false at the end.
  bool skip_blank() {
    while (!over()) {
      spaces();
      comment();
      if (peek() == '\r' || peek() == '\n')
        ++at_;
      else
        return !over();
    }
    return false;
  }
  bool line_end() {
    spaces();
    comment();
    if (peek() == '\r') ++at_;
    if (over()) return true;
    if (peek() != '\n') return false;
    ++at_;
    return true;
  }

  bool header(toml_statement& s) {
    const bool array = text_.substr(at_).starts_with("[[");
    s.what = array ? toml_statement::kind::table_array : toml_statement::kind::table;
    at_ += array ? 2 : 1;
    if (!dotted_key(s.key)) return false;
    if (peek() != ']' || (array && peek(1) != ']')) return refuse("the header of a table does not end");
    at_ += array ? 2 : 1;
    return true;
  }
  bool assignment(toml_statement& s) {
    s.what = toml_statement::kind::value;
    if (!dotted_key(s.key)) return false;
    if (peek() != '=') return refuse("a key has no \"=\"");
    ++at_;
    spaces();
    return value(0);
  }
  bool dotted_key(std::vector<std::string>& parts) {
    while (true) {
      spaces();
      std::string part;
      if (peek() == '"' || peek() == '\'') {
        if (!quoted(part)) return false;
      } else {
        const auto bare = [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        };
        while (bare(peek())) part += text_[at_++];
        if (part.empty()) return refuse("a key is missing");
      }
      parts.push_back(std::move(part));
      spaces();
      if (peek() != '.') return true;
      ++at_;
    }
  }
  // One line; escapes of names are rare, and kept as they are but \" and \\.
  bool quoted(std::string& out) {
    const char mark = text_[at_++];
    while (!over() && peek() != '\n') {
      const char c = text_[at_++];
      if (c == mark) return true;
      if (mark == '"' && c == '\\' && !over()) {
        const char next = text_[at_++];
        if (next != '"' && next != '\\') out += '\\';
        out += next;
      } else {
        out += c;
      }
    }
    return refuse("a string does not end on its line");
  }
  bool long_string(const std::string& mark) {
    at_ += 3;
    while (!over() && !text_.substr(at_).starts_with(mark)) at_ += mark[0] == '"' && peek() == '\\' ? 2 : 1;
    if (over()) return refuse("a string of several lines does not end");
    at_ += 3;
    while (!over() && peek() == mark[0]) ++at_;  // quotes before the closing ones
    return true;
  }
  bool value(int depth) {
    if (depth > 64) return refuse("it is nested too deeply");
    const std::string_view rest = text_.substr(at_);
    for (const char* mark : {"\"\"\"", "'''"})
      if (rest.starts_with(mark)) return long_string(mark);
    std::string ignored;
    if (peek() == '"' || peek() == '\'') return quoted(ignored);
    if (peek() == '[') return list(depth);
    if (peek() == '{') return inline_table(depth);
    const std::size_t from = at_;
    while (!over() && std::string_view(" \t\r\n,]}#=[{\"'").find(peek()) == std::string_view::npos) ++at_;
    const bool date = at_ - from == 10 && text_[from + 4] == '-' && text_[from + 7] == '-';
    if (date && peek() == ' ' && peek(1) >= '0' && peek(1) <= '9')  // 1979-05-27 07:32:00
      for (++at_; !over() && std::string_view("0123456789:.+-Z").find(peek()) != std::string_view::npos;) ++at_;
    return at_ > from || refuse("a value is missing");
  }
  bool list(int depth) {
    ++at_;
    while (skip_blank()) {
      if (peek() == ']') {
        ++at_;
        return true;
      }
      if (!value(depth + 1)) return false;
      if (!skip_blank()) break;
      if (peek() == ',')
        ++at_;
      else if (peek() != ']')
        return refuse("a list has something that is no value");
    }
    return refuse("a list does not end");
  }
  bool inline_table(int depth) {
    ++at_;
    spaces();
    if (peek() == '}') {
      ++at_;
      return true;
    }
    while (!over()) {
      std::vector<std::string> key;
      if (!dotted_key(key)) return false;
      if (peek() != '=') return refuse("a key has no \"=\"");
      ++at_;
      spaces();
      if (!value(depth + 1)) return false;
      spaces();
      const char c = peek();
      ++at_;
      if (c == '}') return true;
      if (c != ',') return refuse("a table in braces does not end on its line");
    }
    return refuse("a table in braces does not end");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string why_;
};

}  // namespace

result<std::vector<toml_statement>> toml_statements(std::string_view text) { return scanner(text).run(); }

}  // namespace caged::cli
