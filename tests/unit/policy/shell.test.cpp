// The shell reader: never crashes, never takes long, reads what a shell reads.
#include <gtest/gtest.h>

#include <chrono>
#include <core/policy/shell_parser.hpp>
#include <random>

namespace caged::policy::shell {
namespace {

std::string words_of(std::string_view text) {
  std::string out;
  for (const auto& c : parse(text).commands) {
    out += out.empty() ? "" : " ; ";
    for (std::size_t i = 0; i < c.words.size(); ++i)
      out += (i > 0 ? "|" : "") + c.words[i].text + (c.words[i].dynamic ? "?" : "");
  }
  return out;
}

TEST(shell, broken_text_is_marked_incomplete) {
  for (const char* text : {"'", "\"", "`", "$(", "${x", "(", "{ ", "if true", "case x in a) b", "cat <<E\nx", "$'",
                           "a \"$(", "<(", "while x; do"}) {
    EXPECT_FALSE(parse(text).complete) << text;
  }
  for (const char* text : {"", " ", "\n\n", "ls", "a | b", "a && b || c", "# x", "(a)", "{ a; }", "a <<E\nx\nE\nb",
                           "for i in a; do b; done", "f() { a; }"}) {
    EXPECT_TRUE(parse(text).complete) << text;
  }
}

TEST(shell, garbage_never_hangs_or_grows) {
  std::mt19937 random(11);
  constexpr std::string_view pieces[] = {
      "(",     ")",   "{",    "}",   "$(", "`",    "\"",   "'",     "\\", "<", ">",   "<<",   "<<<E", "&",
      "|",     ";",   ";;",   "\n",  " ",  "$",    "${",   "}",     "x",  "=", "if ", "fi",   "do ",  "done",
      "case ", "in ", "esac", "f()", "$'", "\x01", "\x04", "{a,b}", "<(", "#", "*",   "for ", "0"};
  const auto begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 4000; ++round) {
    std::string text;
    for (auto n = random() % 60; n > 0; --n) text += pieces[random() % std::size(pieces)];
    parse(text);
  }
  for (const char* piece :
       {"(", "$(", "{ ", "`", "<(", "\"$(", "${x:-", "a|", "{a,b}", "if ", "x=", "<<E\n", "f(){ "}) {
    std::string text;
    while (text.size() < 120'000) text += piece;
    parse(text);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST(shell, limits_hold) {
  std::string many = "a";
  for (int i = 0; i < 10'000; ++i) many += " b";
  const script s = parse(many);
  EXPECT_FALSE(s.complete);
  EXPECT_LE(s.commands.at(0).words.size(), 4096u);
  EXPECT_FALSE(parse(std::string(300'000, 'a')).complete);
  EXPECT_EQ(words_of("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}").find("aaaaaaaa"), 0u);
  EXPECT_LE(parse("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}").commands.at(0).words.size(), 130u);
}

TEST(shell, words) {
  EXPECT_EQ(words_of("a 'b c' \"d e\"f g\\ h"), "a|b c|d ef|g h");
  EXPECT_EQ(words_of("'' \"\" x"), "||x");
  EXPECT_EQ(words_of("$'a\\x41\\n\\101' \"a\\$b\""), "aA\nA|a$b");
  EXPECT_EQ(words_of("echo {a,b}c {x} {1..3} a{b,{c,d}}"), "echo|ac|bc|{x}|{1..3}|ab|ac|ad");
  EXPECT_EQ(words_of("X=1; Y='a b'; echo $X $Y \"$Y\" ${X}z ${Q:-dft} ${X:+yes} $Q"), "echo|1|a|b|a b|1z|dft|yes|$Q?");
  EXPECT_EQ(words_of("a$(echo b)c `echo d`"), "abc|d");
  EXPECT_EQ(words_of("a *.c"), "a|*.c?");
  EXPECT_EQ(words_of("a \\\n b"), "a|b");
}

TEST(shell, structure) {
  const script s = parse("a > f 2>&1 | b <in && c & d\n e <<X; g\nbody\nX\nh");
  ASSERT_EQ(s.commands.size(), 7u);
  EXPECT_EQ(s.commands[1].op, "|");
  EXPECT_EQ(s.commands[2].op, "&&");
  EXPECT_EQ(s.commands[3].op, "&");
  EXPECT_EQ(s.commands[0].redirects.at(0).target.text, "f");
  EXPECT_EQ(s.commands[0].redirects.at(1).fd, 2);
  EXPECT_EQ(s.commands[4].input, "body\n");
  EXPECT_EQ(s.commands[6].words.at(0).text, "h");
  const script g = parse("(a; b) | { c; } > f; if d; then e; fi | g");
  ASSERT_EQ(g.commands.size(), 4u);
  EXPECT_EQ(g.commands[0].group->commands.size(), 2u);
  EXPECT_EQ(g.commands[1].op, "|");
  EXPECT_EQ(g.commands[1].redirects.at(0).target.text, "f");
  EXPECT_EQ(g.commands[2].group->commands.size(), 2u);
}

TEST(shell, outputs_known_from_the_text) {
  EXPECT_EQ(static_output(parse("echo -n a 'b c'")), "a b c");
  EXPECT_EQ(static_output(parse("printf '%s-%s\\n' a b")), "a-b\n");
  EXPECT_EQ(static_output(parse("echo aGk= | base64 -d")), "hi");
  EXPECT_EQ(static_output(parse("echo 6869 | xxd -r -p")), "hi");
  EXPECT_EQ(static_output(parse("echo ih | rev")), "hi\n");
  EXPECT_EQ(static_output(parse("base64 --decode <<< aGk=")), "hi");
  EXPECT_EQ(static_output(parse("echo $X")), std::nullopt);
  EXPECT_EQ(static_output(parse("echo a > f")), std::nullopt);
  EXPECT_EQ(static_output(parse("id")), std::nullopt);
  EXPECT_EQ(static_output(parse("echo a; echo b")), std::nullopt);
  EXPECT_EQ(static_output(parse("echo 'a")), std::nullopt);
}

}  // namespace
}  // namespace caged::policy::shell
