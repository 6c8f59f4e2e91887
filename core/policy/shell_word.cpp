// Words: quoting, parameters, substitutions.
#include <core/policy/shell_reader.hpp>

#include <algorithm>

namespace caged::policy::shell {
namespace {

bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool name_char(char c) { return name_start(c) || (c >= '0' && c <= '9'); }
bool ends_word(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == ';' || c == '&' || c == '|' || c == '<' || c == '>' || c == '(' ||
         c == ')';
}

// What a running shell is sure to know. HOME stays "~" so that rules about paths have one spelling to look for.
const char* well_known(std::string_view name) {
  if (name == "IFS") return " \t\n";
  if (name == "HOME") return "~";
  if (name == "SHELL" || name == "0") return "sh";
  if (name == "BASH") return "bash";
  return nullptr;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void append_escape(std::string& out, std::string_view text, std::size_t& at) {
  if (at >= text.size()) {
    out += '\\';
    return;
  }
  const char c = text[at++];
  constexpr std::string_view letters = "abefnrtv\\'\"?", bytes = "\a\b\x1b\f\n\r\t\v\\'\"?";
  if (const auto place = letters.find(c); place != std::string_view::npos) {
    out += bytes[place];
  } else if (c == 'x' || c == 'u' || c == 'U') {
    unsigned value = 0;
    int digits = 0;
    const int most = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    while (digits < most && at < text.size() && hex_digit(text[at]) >= 0) {
      value = value * 16 + static_cast<unsigned>(hex_digit(text[at++]));
      ++digits;
    }
    if (digits > 0) out += value > 5 && value < 256 ? static_cast<char>(value) : '?';
  } else if (c >= '0' && c <= '7') {
    unsigned value = static_cast<unsigned>(c - '0');
    for (int digits = 1; digits < (c == '0' ? 4 : 3) && at < text.size() && text[at] >= '0' && text[at] <= '7';
         ++digits) {
      value = value * 8 + static_cast<unsigned>(text[at++] - '0');
    }
    out += value > 5 ? static_cast<char>(value) : '?';
  } else {
    out += '\\';
    out += c;
  }
}

void reader::add_value(raw_word& w, std::string_view value, bool quoted) {
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t' || c == '\n';
    w.text += blank && !quoted ? mark_split : c >= '\x01' && c <= '\x05' ? '?' : c;
  }
}

void reader::add_variable(raw_word& w, const std::string& name, bool quoted, std::string_view written) {
  const auto found = state_.variables.find(name);
  if (found != state_.variables.end() && found->second) return add_value(w, *found->second, quoted);
  if (found == state_.variables.end()) {
    if (const char* value = well_known(name)) return add_value(w, value, quoted);
  }
  w.text += written;
  w.dynamic = true;
}

std::shared_ptr<script> reader::parse_text(std::string text) {
  auto out = std::make_shared<script>();
  if (depth_ >= limits_.depth) {
    out->complete = false;
    state_.broken = true;
    return out;
  }
  reader inner(text, limits_, state_, depth_ + 1);
  *out = inner.read_list("");
  return out;
}

std::shared_ptr<script> reader::read_inner(std::string_view end) {
  auto out = std::make_shared<script>();
  if (depth_ >= limits_.depth) {
    out->complete = false;
    state_.broken = true;
    at_ = text_.size();
    return out;
  }
  reader inner(text_.substr(at_), limits_, state_, depth_ + 1);
  *out = inner.read_list(end);
  at_ += inner.position();
  return out;
}

// Behind "$(": the inner script, and its value where the text alone says it.
void reader::add_substitution(raw_word& w, command& c, bool quoted) {
  auto inner = read_inner(")");
  if (auto value = static_output(*inner)) {
    while (value->ends_with('\n')) value->pop_back();
    add_value(w, *value, quoted);
  } else {
    w.text += "$(…)";
    w.dynamic = true;
  }
  c.substitutions.push_back({"$(", static_cast<int>(c.words.size()), std::move(inner)});
}

void reader::read_backticks(raw_word& w, command& c, bool quoted) {
  std::string text;
  ++at_;
  while (!done() && peek() != '`') {
    if (peek() == '\\' && (peek(1) == '`' || peek(1) == '\\' || peek(1) == '$')) ++at_;
    if (!done()) text += text_[at_++];
  }
  if (done()) state_.broken = true;
  ++at_;
  auto inner = parse_text(std::move(text));
  if (auto value = static_output(*inner)) {
    while (value->ends_with('\n')) value->pop_back();
    add_value(w, *value, quoted);
  } else {
    w.text += "$(…)";
    w.dynamic = true;
  }
  c.substitutions.push_back({"$(", static_cast<int>(c.words.size()), std::move(inner)});
}

void reader::read_process_substitution(raw_word& w, command& c) {
  const std::string kind(text_.substr(at_, 2));
  at_ += 2;
  auto inner = read_inner(")");
  w.text += kind + "…)";
  w.dynamic = true;
  c.substitutions.push_back({kind, static_cast<int>(c.words.size()), std::move(inner)});
}

void reader::read_single_quoted(raw_word& w) {
  w.quoted = true;
  w.text += mark_empty;
  ++at_;
  const auto close = text_.find('\'', at_);
  if (close == std::string_view::npos) state_.broken = true;
  const auto piece = text_.substr(at_, close == std::string_view::npos ? close : close - at_);
  w.text += piece;
  at_ += piece.size() + 1;
}

// $'…'
void reader::read_ansi_quoted(raw_word& w) {
  w.quoted = true;
  w.text += mark_empty;
  at_ += 2;
  while (!done() && peek() != '\'') {
    if (peek() == '\\') {
      ++at_;
      append_escape(w.text, text_, at_);
    } else {
      w.text += text_[at_++];
    }
  }
  if (done()) state_.broken = true;
  ++at_;
}

void reader::read_double_quoted(raw_word& w, command& c) {
  w.quoted = true;
  w.text += mark_empty;
  ++at_;
  while (!done() && peek() != '"') {
    if (peek() == '\\' && std::string_view("$`\"\\\n").find(peek(1)) != std::string_view::npos && peek(1) != '\0') {
      if (peek(1) != '\n') w.text += peek(1);
      at_ += 2;
    } else if (peek() == '$') {
      read_dollar(w, c, true);
    } else if (peek() == '`') {
      read_backticks(w, c, true);
    } else {
      w.text += text_[at_++];
    }
  }
  if (done()) state_.broken = true;
  ++at_;
}

void reader::read_dollar(raw_word& w, command& c, bool quoted) {
  const char next = peek(1);
  if (!quoted && next == '\'') return read_ansi_quoted(w);
  if (!quoted && next == '"') {
    ++at_;
    return read_double_quoted(w, c);
  }
  if (next == '(' && peek(2) == '(') {  // arithmetic: never a command, unless a substitution hides in it
    const auto close = text_.find("))", at_ + 3);
    if (close != std::string_view::npos &&
        text_.substr(at_ + 3, close - at_ - 3).find_first_of("$`(") == std::string_view::npos) {
      w.text += "$((…))";
      w.dynamic = true;
      at_ = close + 2;
      return;
    }
  }
  if (next == '(') {
    at_ += 2;
    return add_substitution(w, c, quoted);
  }
  if (next == '{') {
    if (nesting_ >= limits_.depth) {
      state_.broken = true;
      at_ = text_.size();
      return;
    }
    ++nesting_;
    read_braced_parameter(w, c, quoted);
    --nesting_;
    return;
  }
  const std::size_t begin = at_++;
  if (name_start(peek())) {
    while (name_char(peek())) ++at_;
  } else if (std::string_view("0123456789@*#?$!-").find(peek()) != std::string_view::npos && peek() != '\0') {
    ++at_;
  } else {
    w.text += '$';
    return;
  }
  add_variable(w, std::string(text_.substr(begin + 1, at_ - begin - 1)), quoted, text_.substr(begin, at_ - begin));
}

void reader::read_braced_parameter(raw_word& w, command& c, bool quoted) {
  const std::size_t begin = at_;
  at_ += 2;
  const std::size_t name_begin = at_;
  while (name_char(peek())) ++at_;
  const std::string name(text_.substr(name_begin, at_ - name_begin));
  if (peek() == '}') {
    ++at_;
    return add_variable(w, name, quoted, text_.substr(begin, at_ - begin));
  }
  std::string op;
  if (peek() == ':' && std::string_view("-=+").find(peek(1)) != std::string_view::npos) {
    op = text_.substr(at_, 2);
  } else if (std::string_view("-=+").find(peek()) != std::string_view::npos && !name.empty()) {
    op = text_.substr(at_, 1);
  }
  raw_word rest;
  at_ += op.size();
  while (!done() && peek() != '}') {
    if (peek() == '\'' && !quoted)
      read_single_quoted(rest);
    else if (peek() == '"')
      read_double_quoted(rest, c);
    else if (peek() == '$')
      read_dollar(rest, c, quoted);
    else if (peek() == '`')
      read_backticks(rest, c, quoted);
    else if (peek() == '\\' && at_ + 1 < text_.size())
      rest.text += text_[at_ + 1], at_ += 2;
    else
      rest.text += text_[at_++];
  }
  if (done()) state_.broken = true;
  ++at_;
  if (!op.empty() && !name.empty()) {
    const auto known = state_.variables.find(name);
    const bool set = known != state_.variables.end() || well_known(name) != nullptr;
    const bool use_rest = op.back() == '+' ? set : !set;
    if (use_rest) {
      add_value(w, rest.text, quoted);
      w.dynamic = w.dynamic || rest.dynamic;
      return;
    }
    if (op.back() == '+') return;
    return add_variable(w, name, quoted, "${" + name + "}");
  }
  w.text += text_.substr(begin, std::min(at_, text_.size()) - begin);
  w.dynamic = true;
}

raw_word reader::read_word(command& c) {
  raw_word w;
  if ((peek() == '<' || peek() == '>') && peek(1) == '(') read_process_substitution(w, c);
  while (!done() && !ends_word(peek())) {
    const char ch = peek();
    if (ch == '\'')
      read_single_quoted(w);
    else if (ch == '"')
      read_double_quoted(w, c);
    else if (ch == '$')
      read_dollar(w, c, false);
    else if (ch == '`')
      read_backticks(w, c, false);
    else if (ch == '\\') {
      if (peek(1) != '\n' && at_ + 1 < text_.size()) w.text += peek(1);
      at_ += 2;
    } else {
      if (ch == '{')
        w.text += mark_open;
      else if (ch == ',')
        w.text += mark_comma;
      else if (ch == '}')
        w.text += mark_close;
      else
        w.text += ch;
      if (ch == '*' || ch == '?' || ch == '[') w.dynamic = true;
      ++at_;
    }
    if (peek() == '=' && (peek(1) == '<' || peek(1) == '>') && peek(2) == '(') {  // --file=<(…)
      w.text += text_[at_++];
      read_process_substitution(w, c);
    }
  }
  at_ = std::min(at_, text_.size());
  return w;
}

}  // namespace caged::policy::shell
