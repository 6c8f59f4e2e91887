#include "mcp/server/shell_words.hpp"

#include <cctype>
#include <optional>

namespace caged::mcp {
namespace {

constexpr const char* literal_advice =
    "Only literal words, quotes, pipes, lists (&& || ;) and redirections are understood while commands are limited; "
    "write values out.";

class reader {
 public:
  explicit reader(const std::string& text) : text_(text) {}

  std::vector<simple_command> read() {
    if (text_.size() > 32'768) throw refused_command("the command is longer than 32768 bytes", "Put it into a file.");
    while (at_ < text_.size()) step();
    end_word();
    end_command("");
    if (commands_.empty()) throw refused_command("the command is blank", "Give a command.");
    // "a &&" and "a |" wait for more; a newline or semicolon at the end does not.
    const std::string& last = commands_.back().then;
    if (last == "|" || last == "&&" || last == "||")
      throw refused_command("nothing follows " + last, "Complete the command.");
    return std::move(commands_);
  }

 private:
  void step() {
    const char c = text_[at_];
    switch (c) {
      case '\0':
        throw refused_command("the command holds a NUL byte", literal_advice);
      case ' ':
      case '\t':
        ++at_;
        return end_word();
      case '\r':
        if (peek(1) == '\n') {
          ++at_;
          return;
        }
        return literal(c);
      case '\n':
        ++at_;
        end_word();
        return end_command(";");
      case '\'':
        return single_quotes();
      case '"':
        return double_quotes();
      case '\\':
        return backslash();
      case '$':
        return dollar();
      case '`':
        throw refused_command("command substitution with ` ", literal_advice);
      case '(':
      case ')':
        throw refused_command(std::string("a subshell or function: ") + c, literal_advice);
      case '#':
        if (!word_) {
          while (at_ < text_.size() && text_[at_] != '\n') ++at_;
          return;
        }
        return literal(c);
      case '~':
        if (!word_ || ends_with_separator()) throw refused_command("~ stands for a home folder", literal_advice);
        return literal(c);
      case '{':
        if (peek(1) != '}') throw refused_command("brace expansion or a group: {", "Quote it if it is meant as text.");
        return literal(c);
      case '*':
      case '?':
        return wildcard(c);
      case '|':
      case '&':
      case ';':
        return control(c);
      case '<':
      case '>':
        return redirection();
      default:
        return literal(c);
    }
  }

  char peek(std::size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool ends_with_separator() const {
    return !word_->value.empty() && (word_->value.back() == '=' || word_->value.back() == ':');
  }

  shell_word& word() {
    if (!word_) word_.emplace();
    return *word_;
  }

  void add(char c) {
    word().value += c;
    piece_ += c;
  }

  void literal(char c) {
    shell_word& w = word();
    if (c == '=' && w.name_size == 0 && !quoted_ && !w.glob && !w.value.empty()) {
      bool name = std::isdigit(static_cast<unsigned char>(w.value[0])) == 0;
      for (const char n : w.value) name = name && (std::isalnum(static_cast<unsigned char>(n)) != 0 || n == '_');
      if (name) w.name_size = w.value.size();
    }
    add(c);
    ++at_;
  }

  void wildcard(char c) {
    shell_word& w = word();
    if (w.value.empty()) {
      // What it expands to must never be taken for an option.
      w.value = piece_ = "./";
    } else if (w.value[0] == '-') {
      throw refused_command("a pattern in an option: " + w.value + c, "Write the option out.");
    }
    flush_piece();
    w.value += c;
    w.rendered += c;
    w.glob = true;
    ++at_;
  }

  void single_quotes() {
    word();
    quoted_ = true;
    const std::size_t end = text_.find('\'', at_ + 1);
    if (end == std::string::npos) throw refused_command("a ' is not closed", "Close the quotes.");
    for (std::size_t i = at_ + 1; i < end; ++i) add(text_[i]);
    at_ = end + 1;
  }

  void double_quotes() {
    word();
    quoted_ = true;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      char c = text_[at_];
      if (c == '`') throw refused_command("command substitution with ` ", literal_advice);
      if (c == '$' && expands(peek(1))) throw refused_command("an expansion: " + text_.substr(at_, 16), literal_advice);
      if (c == '\\') {
        const char next = peek(1);
        if (next == '\n') {
          ++at_;
          continue;
        }
        if (next == '$' || next == '`' || next == '"' || next == '\\') c = text_[++at_];
      }
      add(c);
    }
    if (at_ >= text_.size()) throw refused_command("a \" is not closed", "Close the quotes.");
    ++at_;
  }

  void backslash() {
    if (at_ + 1 >= text_.size()) throw refused_command("a \\ at the end", "Complete the command.");
    if (text_[at_ + 1] != '\n') {
      word();
      quoted_ = true;
      add(text_[at_ + 1]);
    }
    at_ += 2;
  }

  static bool expands(char next) {
    return std::isalnum(static_cast<unsigned char>(next)) != 0 ||
           (next != '\0' && std::string_view("_({[@*#?-$!").find(next) != std::string_view::npos);
  }

  void dollar() {
    const char next = peek(1);
    if (expands(next) || next == '\'' || next == '"')
      throw refused_command("an expansion: " + text_.substr(at_, 16), literal_advice);
    literal('$');
  }

  void control(char c) {
    end_word();
    const char next = peek(1);
    if (c == '&' && next == '>') return redirection();
    std::string operation(1, c);
    if (c != ';' && next == c) operation += c;
    if (c == ';' && next == ';') throw refused_command("a case statement: ;;", literal_advice);
    if (c == '|' && next == '&') throw refused_command("|&", "Write 2>&1 | instead.");
    at_ += operation.size();
    if (commands_.size() > 200) throw refused_command("more than 200 commands", "Put them into a file.");
    if (current_.words.empty() && current_.redirections.empty())
      throw refused_command("nothing stands before " + operation, "Complete the command.");
    end_command(operation);
  }

  void redirection() {
    std::string operation;
    // Digits that touch the operator are a descriptor, not a word.
    if (word_ && !quoted_ && !word_->value.empty() &&
        word_->value.find_first_not_of("0123456789") == std::string::npos) {
      operation = word_->value;
      word_.reset();
      piece_.clear();
    }
    end_word();
    if (text_[at_] == '&') operation += text_[at_++];
    const char c = text_[at_++];
    operation += c;
    const char next = at_ < text_.size() ? text_[at_] : '\0';
    if (next == '(') throw refused_command("process substitution", literal_advice);
    if (c == '<' && (next == '<' || next == '>'))
      throw refused_command("a here-document", "Write the input to a file and redirect from it.");
    if (next == '&' || (c == '>' && (next == '>' || next == '|'))) {
      operation += next;
      ++at_;
    }
    if (pending_) throw refused_command("a redirection without a target", "Complete the command.");
    pending_ = operation;
  }

  void flush_piece() {
    if (!piece_.empty()) word_->rendered += shell_quoted(piece_);
    piece_.clear();
  }

  void end_word() {
    if (!word_) return;
    flush_piece();
    if (word_->rendered.empty()) word_->rendered = "''";
    if (pending_) {
      current_.redirections.push_back({*pending_, std::move(*word_)});
      pending_.reset();
    } else {
      current_.words.push_back(std::move(*word_));
    }
    word_.reset();
    quoted_ = false;
  }

  void end_command(std::string then) {
    if (pending_) throw refused_command("a redirection without a target", "Complete the command.");
    if (current_.words.empty() && current_.redirections.empty()) {
      // A blank line, or the end.
      return;
    }
    current_.then = std::move(then);
    commands_.push_back(std::move(current_));
    current_ = {};
  }

  const std::string& text_;
  std::size_t at_ = 0;
  std::optional<shell_word> word_;
  std::string piece_;    // of the word, not rendered yet
  bool quoted_ = false;  // something of the word was quoted
  std::optional<std::string> pending_;
  simple_command current_;
  std::vector<simple_command> commands_;
};

}  // namespace

std::string shell_quoted(const std::string& value) {
  std::string out = "'";
  for (const char c : value) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

wire::failed refused_command(std::string what, std::string action) {
  return wire::failed("permission_denied", "command_refused", "refused: " + std::move(what), std::move(action),
                      "/command");
}

std::vector<simple_command> read_shell_command(const std::string& text) { return reader(text).read(); }

}  // namespace caged::mcp
