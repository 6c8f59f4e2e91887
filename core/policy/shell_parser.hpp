// Reads shell text the way a shell would, without running it: pipelines, quoting, assignments, substitutions, groups.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy::shell {

struct script;

// One word after expansion. What only a running shell could know stays as written and sets `dynamic`.
struct word {
  std::string text;
  bool dynamic = false;  // holds an unknown variable, an unknown substitution or a glob
};

struct redirect {
  int fd = -1;           // -1: the operator's own
  std::string op;        // < > >> <> >| &> &>> <& >& << <<< (<<- reads as <<)
  word target;
  std::string body;      // of << and <<<
};

// $(…), `…`, <(…) or >(…) inside a word.
struct substitution {
  std::string kind;      // "$(" "<(" ">("
  int place = -1;        // index into words; -1 in an assignment or redirection
  std::shared_ptr<script> inner;
};

struct command {
  std::string op;        // what stands before it: "" ; & && || | |&
  std::vector<std::pair<std::string, word>> assignments;
  std::vector<word> words;
  std::vector<redirect> redirects;
  std::vector<substitution> substitutions;
  std::shared_ptr<script> group;       // ( … ), { … }, if, while, for, case, a call of a known function
  std::optional<std::string> input;    // standard input, where it is known from the text alone
};

struct script {
  std::vector<command> commands;       // commands[i].op "|" joins it to commands[i-1]
  bool complete = true;                // false: broken off (unclosed quote, limits); what was read so far is there
};

struct parse_limits {
  std::size_t text = 128 * 1024;
  std::size_t words = 4096;
  int depth = 24;
};

// Never fails, never throws but for memory; linear in the text (times depth).
script parse(std::string_view text, const parse_limits& limits = {});

// What a pipeline of echo, printf, base64 -d, rev and cat with literal arguments prints, when the text alone says so.
std::optional<std::string> static_output(const script& s);
// The same for the first `count` commands of one pipeline, beginning at `first`.
std::optional<std::string> pipeline_output(const std::vector<command>& commands, std::size_t first, std::size_t count);

// Lenient: skips what is no base64.
std::string base64_decode(std::string_view text);

}  // namespace caged::policy::shell
