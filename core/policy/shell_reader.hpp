// The recursive reader behind shell::parse(). Internal.
#pragma once

#include <core/policy/shell_parser.hpp>

namespace caged::policy::shell {

// Bytes that mark unquoted syntax inside a raw word until it is expanded; the same bytes of the input become '?'.
inline constexpr char mark_open = '\x01';    // {
inline constexpr char mark_comma = '\x02';   // ,
inline constexpr char mark_close = '\x03';   // }
inline constexpr char mark_split = '\x04';   // a blank that came out of an unquoted expansion
inline constexpr char mark_empty = '\x05';   // quotes stood here: the word exists even when it is empty

struct raw_word {
  std::string text;
  bool dynamic = false;
  bool quoted = false;
  bool dot_range = false;
};

// Brace expansion, field splitting and removal of marks: one raw word becomes any number of words.
std::vector<word> expand(const raw_word& raw, std::size_t most);
// The same without splitting, for assignments and redirections.
word expand_whole(const raw_word& raw);

struct shared_state {
  std::map<std::string, std::optional<std::string>> variables;  // nullopt: assigned, value unknown
  std::map<std::string, std::shared_ptr<script>> functions;
  std::size_t words_left = 0;
  bool broken = false;
};

class reader {
 public:
  reader(std::string_view text, const parse_limits& limits, shared_state& state, int depth)
      : text_(text), limits_(limits), state_(state), depth_(depth) {}

  // Reads commands until `end` at command position: ")" "}" "fi" "done" "esac", or the end of the text for "".
  script read_list(std::string_view end);
  std::size_t position() const noexcept { return at_; }

 private:
  struct here_document {
    std::size_t command;
    std::size_t redirect;
    std::string delimiter;
    bool strip_tabs;
    bool literal;
  };

  bool done() const noexcept { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const noexcept { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(std::string_view what);
  void skip_blanks();
  std::string read_operator();
  std::string keyword_ahead() const;
  bool at_end_mark(std::string_view end, script& out);
  void read_command(script& out, std::string op, std::string_view end);
  bool read_group(command& c);
  void read_for_clause(command& c);
  void read_simple(script& out, command& c, std::string_view end);
  bool read_redirect(script& out, command& c);
  void read_here_documents(script& out);
  bool read_function(std::string name);
  bool take_assignment(command& c, const raw_word& raw);
  void finish(script& out, std::size_t first);

  // shell_word.cpp
  raw_word read_word(command& c);
  void read_single_quoted(raw_word& w);
  void read_double_quoted(raw_word& w, command& c);
  void read_ansi_quoted(raw_word& w);
  void read_dollar(raw_word& w, command& c, bool quoted);
  void read_braced_parameter(raw_word& w, command& c, bool quoted);
  void read_backticks(raw_word& w, command& c, bool quoted);
  void read_process_substitution(raw_word& w, command& c);
  void add_substitution(raw_word& w, command& c, bool quoted);
  void add_variable(raw_word& w, const std::string& name, bool quoted, std::string_view written);
  static void add_value(raw_word& w, std::string_view value, bool quoted);
  std::shared_ptr<script> read_inner(std::string_view end);
  std::shared_ptr<script> parse_text(std::string text);

  std::string_view text_;
  const parse_limits& limits_;
  shared_state& state_;
  int depth_;
  std::size_t at_ = 0;
  int nesting_ = 0;  // of ${…} within ${…}, which needs no inner reader
  std::vector<here_document> waiting_;
};

// The bytes of $'…' and echo -e escapes; `at` stands behind the backslash and is moved on.
void append_escape(std::string& out, std::string_view text, std::size_t& at);

}  // namespace caged::policy::shell
