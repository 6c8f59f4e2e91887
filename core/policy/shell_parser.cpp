// The grammar: lists, pipelines, groups, redirections, here-documents.
#include <core/policy/shell_parser.hpp>

#include <algorithm>
#include <core/policy/shell_reader.hpp>
#include <utility>

namespace caged::policy::shell {
namespace {

constexpr std::string_view operators[] = {"<<<", "<<-", "&>>", "&&", "||", "|&", ";;", "&>", "<<", ">>",
                                          ">|",  "<>",  "<&",  ">&", ";",  "&",  "|",  "<",  ">"};

bool blank(char c) { return c == ' ' || c == '\t'; }
bool word_end(char c) {
  return c == '\0' || blank(c) || c == '\n' || std::string_view(";&|<>()").find(c) != std::string_view::npos;
}

bool is_name(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  for (const char c : text) {
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

}  // namespace

bool reader::take(std::string_view what) {
  if (text_.substr(at_, what.size()) != what) return false;
  at_ += what.size();
  return true;
}

void reader::skip_blanks() {
  while (!done()) {
    if (blank(peek()) || peek() == '\r')
      ++at_;
    else if (peek() == '\\' && peek(1) == '\n')
      at_ += 2;
    else if (peek() == '#') {
      const auto line = text_.find('\n', at_);
      at_ = line == std::string_view::npos ? text_.size() : line;
    } else {
      return;
    }
  }
}

std::string reader::read_operator() {
  for (const auto op : operators) {
    if (take(op)) return std::string(op);
  }
  return {};
}

// The plain word that begins here, not consumed.
std::string reader::keyword_ahead() const {
  std::size_t end = at_;
  while (end < text_.size() && end - at_ < 12 && !word_end(text_[end])) ++end;
  return std::string(text_.substr(at_, end - at_));
}

bool reader::at_end_mark(std::string_view end, script& out) {
  if (end.empty()) {
    if (peek() == ')') ++at_;  // stray: skipped
    return done();
  }
  if (done()) {
    out.complete = false;
    state_.broken = true;
    return true;
  }
  if (end == ")") return take(")");
  if (keyword_ahead() != end) return false;
  at_ += end.size();
  return true;
}

script reader::read_list(std::string_view end) {
  script out;
  std::string op;
  while (true) {
    skip_blanks();
    if (peek() == '\n') {
      ++at_;
      read_here_documents(out);
      if (op != "|" && op != "|&" && op != "&&" && op != "||") op = ";";
      continue;
    }
    if (at_end_mark(end, out)) break;
    if (state_.words_left == 0) {
      out.complete = false;
      at_ = text_.size();
      break;
    }
    const char c = peek();
    if (c == ';' || c == '&' || c == '|') {
      const bool redirect = c == '&' && peek(1) == '>';
      if (!redirect) {
        op = read_operator();
        if (op == ";;") op = ";";
        continue;
      }
    }
    const std::size_t before = at_;
    read_command(out, out.commands.empty() ? "" : std::exchange(op, ";"), end);
    if (at_ == before) ++at_;  // whatever this is, go on behind it
  }
  read_here_documents(out);
  if (state_.broken) out.complete = false;
  for (std::size_t i = 0; i < out.commands.size(); ++i) finish(out, i);
  return out;
}

void reader::read_command(script& out, std::string op, std::string_view end) {
  // Words that only order commands, never name one.
  while (true) {
    const std::string word = keyword_ahead();
    if (word != "then" && word != "do" && word != "else" && word != "elif" && word != "!" && word != "time" &&
        word != "coproc" && word != "in") {
      break;
    }
    at_ += word.size();
    skip_blanks();
    if (word == "time" && take("-p")) skip_blanks();
    if (done() || peek() == '\n') return;
  }
  command c;
  c.op = op.empty() || !out.commands.empty() ? op : "";
  if (read_group(c)) {
    out.commands.push_back(std::move(c));
    while (true) {
      skip_blanks();
      if (!read_redirect(out, out.commands.back())) break;
    }
    return;
  }
  read_simple(out, c, end);
}

bool reader::read_group(command& c) {
  if (peek() == '(') {
    ++at_;
    c.group = read_inner(")");
    return true;
  }
  const std::string word = keyword_ahead();
  if (word == "{") {
    ++at_;
    c.group = read_inner("}");
    return true;
  }
  const char* end = word == "if"                                                              ? "fi"
                    : word == "while" || word == "until" || word == "for" || word == "select" ? "done"
                    : word == "case"                                                          ? "esac"
                                                                                              : nullptr;
  if (end == nullptr) return false;
  at_ += word.size();
  if (word == "for" || word == "select") read_for_clause(c);
  if (word == "case") {  // the word and `in`; patterns are recognised by their ")"
    skip_blanks();
    read_word(c);
  }
  c.group = read_inner(end);
  return true;
}

// for NAME in words: one literal word is the variable's value; several are unknown.
void reader::read_for_clause(command& c) {
  skip_blanks();
  if (peek() == '(') return;  // for ((…)): read as a group, which is harmless
  const std::string name = expand_whole(read_word(c)).text;
  skip_blanks();
  std::vector<word> words;
  if (keyword_ahead() == "in") {
    at_ += 2;
    for (skip_blanks(); !done() && !word_end(peek()) && words.size() < 256; skip_blanks()) {
      for (auto& w : expand(read_word(c), 256)) words.push_back(std::move(w));
    }
  }
  if (!is_name(name)) return;
  if (words.size() == 1 && !words[0].dynamic)
    state_.variables[name] = words[0].text;
  else
    state_.variables[name] = std::nullopt;
}

bool reader::take_assignment(command& c, const raw_word& raw) {
  const auto equals = raw.text.find('=');
  if (equals == std::string::npos || equals == 0) return false;
  std::string name = raw.text.substr(0, equals);
  const bool append = name.ends_with('+');
  if (append) name.pop_back();
  if (!is_name(name)) return false;
  word value = expand_whole({raw.text.substr(equals + 1), raw.dynamic, raw.quoted, false});
  auto& known = state_.variables[name];
  if (append && known) value.text = *known + value.text;
  if (append && !known) value.dynamic = true;
  if (value.dynamic)
    known = std::nullopt;
  else
    known = value.text;
  c.assignments.emplace_back(std::move(name), std::move(value));
  return true;
}

bool reader::read_function(std::string name) {
  const std::size_t begin = at_;
  skip_blanks();
  if (!take("(")) return at_ = begin, false;
  skip_blanks();
  if (!take(")")) return at_ = begin, false;
  while (!done() && (blank(peek()) || peek() == '\n')) ++at_;
  command body;
  if (read_group(body)) state_.functions[std::move(name)] = body.group;
  return true;
}

void reader::read_simple(script& out, command& c, std::string_view end) {
  const std::size_t index = out.commands.size();
  out.commands.push_back(std::move(c));
  // `declaring`: export and friends take assignments as arguments.
  bool declaring = false;
  while (true) {
    skip_blanks();
    if (done() || peek() == '\n' || peek() == ';' || peek() == '|' || (peek() == '&' && peek(1) != '>')) break;
    command& now = out.commands[index];
    if (peek() == ')') {
      if (end == "esac") {  // the words so far were a pattern of case
        ++at_;
        now = command{};
        now.op = ";";
        skip_blanks();
        if (read_group(now)) break;
        continue;
      }
      break;
    }
    if (read_redirect(out, now)) continue;
    if (state_.words_left == 0) break;
    if (peek() == '(') break;
    const std::size_t before = at_;
    const raw_word raw = read_word(now);
    if (at_ == before) break;
    if ((now.words.empty() || declaring) && take_assignment(now, raw) && !declaring) continue;
    for (auto& w : expand(raw, std::min<std::size_t>(state_.words_left, 4096))) {
      --state_.words_left;
      now.words.push_back(std::move(w));
      if (state_.words_left == 0) break;
    }
    if (now.words.size() == 1) {
      const auto& first = now.words[0].text;
      declaring =
          first == "export" || first == "declare" || first == "local" || first == "readonly" || first == "typeset";
      if (first == "function") {
        skip_blanks();
        const std::string name = expand_whole(read_word(now)).text;
        if (!read_function(name)) {
          skip_blanks();
          command body;
          if (read_group(body)) state_.functions[name] = body.group;
        }
        out.commands.pop_back();
        return;
      }
      if (peek() == '(' && read_function(first)) {
        out.commands.pop_back();
        return;
      }
    }
  }
  const command& now = out.commands[index];
  if (now.words.empty() && now.assignments.empty() && now.redirects.empty() && now.substitutions.empty() &&
      !now.group) {
    out.commands.pop_back();
  }
}

bool reader::read_redirect(script& out, command& c) {
  const std::size_t begin = at_;
  redirect r;
  std::size_t digits = at_;
  while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9') ++digits;
  const bool numbered =
      digits > at_ && digits - at_ < 4 && digits < text_.size() && (text_[digits] == '<' || text_[digits] == '>');
  if (!numbered && peek() != '<' && peek() != '>' && !(peek() == '&' && peek(1) == '>')) return false;
  if (!numbered && (peek() == '<' || peek() == '>') && peek(1) == '(') return false;  // a process substitution
  if (numbered) {
    r.fd = std::stoi(std::string(text_.substr(at_, digits - at_)));
    at_ = digits;
  }
  r.op = read_operator();
  if (r.op.empty()) return at_ = begin, false;
  skip_blanks();
  const bool strip = r.op == "<<-";
  if (strip) r.op = "<<";
  const raw_word target = done() || peek() == '\n' ? raw_word{} : read_word(c);
  r.target = expand_whole(target);
  if (r.op == "<<<") r.body = r.target.text + "\n";
  c.redirects.push_back(std::move(r));
  if (c.redirects.back().op == "<<") {
    const std::size_t command_index = static_cast<std::size_t>(&c - out.commands.data());
    waiting_.push_back({command_index, c.redirects.size() - 1, c.redirects.back().target.text, strip, target.quoted});
  }
  return true;
}

void reader::read_here_documents(script& out) {
  for (const auto& wanted : waiting_) {
    std::string body;
    bool closed = false;
    while (!done()) {
      const auto line_end = std::min(text_.find('\n', at_), text_.size());
      auto line = text_.substr(at_, line_end - at_);
      at_ = std::min(line_end + 1, text_.size());
      while (wanted.strip_tabs && line.starts_with('\t')) line.remove_prefix(1);
      if (line == wanted.delimiter) {
        closed = true;
        break;
      }
      body.append(line).append("\n");
    }
    if (!closed) out.complete = false;
    if (wanted.command < out.commands.size() && wanted.redirect < out.commands[wanted.command].redirects.size()) {
      out.commands[wanted.command].redirects[wanted.redirect].body = std::move(body);
    }
  }
  waiting_.clear();
}

// Gives a command what can be known of its standard input, and a call of a known function its body.
void reader::finish(script& out, std::size_t index) {
  command& c = out.commands[index];
  if (!c.group && !c.words.empty()) {
    const auto called = state_.functions.find(c.words[0].text);
    if (called != state_.functions.end()) c.group = called->second;
  }
  for (const auto& r : c.redirects) {
    if ((r.op == "<<" || r.op == "<<<") && r.fd <= 0) c.input = r.body;
  }
  if (c.input || (c.op != "|" && c.op != "|&")) return;
  std::size_t first = index;
  while (first > 0 && (out.commands[first].op == "|" || out.commands[first].op == "|&")) --first;
  c.input = pipeline_output(out.commands, first, index - first);
}

script parse(std::string_view text, const parse_limits& limits) {
  const bool cut = text.size() > limits.text;
  std::string clean(text.substr(0, limits.text));
  for (char& c : clean) {
    if (c == '\0' || (c >= mark_open && c <= mark_empty)) c = '?';
  }
  shared_state state;
  state.words_left = limits.words;
  reader root(clean, limits, state, 0);
  script out = root.read_list("");
  if (cut) out.complete = false;
  return out;
}

}  // namespace caged::policy::shell
