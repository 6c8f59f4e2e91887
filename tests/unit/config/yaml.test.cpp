#include <core/config/yaml.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

error refused_yaml(std::string_view text) {
  auto parsed = parse_yaml(text, "f.yaml");
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed ? error{} : parsed.error();
}

TEST(Yaml, RefusesAliasesAnchorsAndTags) {
  EXPECT_EQ(refused_yaml("a: &x [1]\nb: *x\n").reason, "yaml_refused");
  EXPECT_EQ(refused_yaml("a: &x 1\n").reason, "yaml_refused");
  EXPECT_EQ(refused_yaml("a: !!binary aGk=\n").reason, "yaml_refused");
  EXPECT_EQ(refused_yaml("a: !evil {x: 1}\n").reason, "yaml_refused");
  EXPECT_THAT(refused_yaml("a: 1\nb: &x 2\n").message, StartsWith("f.yaml:2:"));
}

TEST(Yaml, RefusesTheBillionLaughsAtOnce) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 20; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int k = 0; k < 8; ++k) bomb += "," + below;
    bomb += "]\n";
  }
  EXPECT_EQ(refused_yaml(bomb).reason, "yaml_refused");
}

TEST(Yaml, RefusesDepthSizeAndNumber) {
  EXPECT_EQ(refused_yaml(std::string(40, '[') + std::string(40, ']')).reason, "yaml_too_large");
  EXPECT_FALSE(parse_yaml(std::string(100'000, '['), "f").has_value());
  EXPECT_FALSE(parse_yaml(std::string(100'000, '{'), "f").has_value());
  EXPECT_EQ(refused_yaml(std::string(max_yaml_bytes + 1, ' ')).reason, "yaml_too_large");
  std::string many = "[";
  for (std::size_t i = 0; i < max_yaml_nodes + 1; ++i) many += "1,";
  EXPECT_EQ(refused_yaml(many + "1]").reason, "yaml_too_large");
}

TEST(Yaml, RefusesDuplicateKeysWithBothLines) {
  const error e = refused_yaml("a: 1\nb: 2\na: 3\n");
  EXPECT_EQ(e.reason, "duplicate_key");
  EXPECT_THAT(e.message, StartsWith("f.yaml:3:"));
  EXPECT_THAT(e.message, HasSubstr("line 1"));
  EXPECT_EQ(refused_yaml("{\"a\": 1, a: 2}").reason, "duplicate_key");
}

TEST(Yaml, RefusesWhatIsNotOneTextDocument) {
  EXPECT_THAT(refused_yaml("a: 1\n---\nb: 2\n").message, HasSubstr("more than one document"));
  EXPECT_THAT(refused_yaml("ok: 1\nbad: \xff\n").message, StartsWith("f.yaml:2:"));
  EXPECT_FALSE(parse_yaml(std::string_view("a: \0", 4), "f").has_value());
  EXPECT_THAT(refused_yaml("\xc0\xaf: overlong").message, HasSubstr("UTF-8"));
  EXPECT_THAT(refused_yaml("a: \xed\xa0\x80").message, HasSubstr("UTF-8"));
  EXPECT_THAT(refused_yaml("a:\n  - b\n c: d\n").message, StartsWith("f.yaml:"));
  EXPECT_THAT(refused_yaml("a: [1, 2\n").message, StartsWith("f.yaml:"));
  EXPECT_THAT(refused_yaml("? [a, b]\n: 1\n").message, HasSubstr("as a key"));
  EXPECT_THAT(refused_yaml("a: 'open").message, StartsWith("f.yaml:"));
}

TEST(Yaml, EmptyIsNothing) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "~", "null"}) {
    auto parsed = parse_yaml(text, "f");
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_EQ(parsed->what, yaml_node::kind::null) << text;
  }
}

json read_yaml(std::string_view text) {
  auto parsed = parse_yaml(text, "f");
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed ? to_json(*parsed) : json();
}

TEST(Yaml, ReadsScalarsByTheCoreSchema) {
  EXPECT_EQ(read_yaml("[true, False, null, ~, '']"), json::parse(R"([true, false, null, null, ""])"));
  EXPECT_EQ(read_yaml("[yes, no, on, y]"), json::parse(R"(["yes", "no", "on", "y"])"));
  EXPECT_EQ(read_yaml("[0, -7, +7, 0x1F, 0o17, 1.5, -2e3, .5]"), json::parse("[0, -7, 7, 31, 15, 1.5, -2000.0, 0.5]"));
  EXPECT_EQ(read_yaml("['1', \"true\", 1.2.3, 1_000, -, 0x, 1e999, 12:30]"),
            json::parse(R"(["1", "true", "1.2.3", "1_000", "-", "0x", "1e999", "12:30"])"));
  EXPECT_EQ(read_yaml("a: |\n  x\n  y\n"), json::parse(R"({"a": "x\ny\n"})"));
}

TEST(Yaml, KnowsTheLineOfEveryPlace) {
  auto parsed = parse_yaml("a:\n  b:\n    - 1\n    - 2\n'c/d~': 3\n", "f");
  ASSERT_TRUE(parsed.has_value());
  std::map<std::string, int> lines;
  to_json(*parsed, &lines);
  EXPECT_EQ(lines["/a/b"], 2);
  EXPECT_EQ(lines["/a/b/1"], 4);
  EXPECT_EQ(lines["/c~1d~0"], 5);
}

TEST(Yaml, WritesWhatItReadsBack) {
  for (const char* text :
       {R"({"a": {"b": [1, {"c": "x"}, []], "d": {}}, "e": null, "f": [[1, 2], ["yes", "no", "~"]]})",
        R"(["true", "1", "1e3", "- x", "a: b", "# c", "", " ", "line\nbreak", "quote'\"", "\u0007", "é", "0x1f", "-"])",
        R"({"key: odd": 1, "": 2, "null": 3, "a b": [{"x": 1, "y": 2}]})", R"([])", R"({})", R"("text")", "3"}) {
    const json value = json::parse(text);
    const std::string yaml = to_yaml(value);
    EXPECT_EQ(read_yaml(yaml), value) << yaml;
  }
}

TEST(Yaml, ReadsFilesButNotForEver) {
  const testing::scratch_folder folder;
  EXPECT_EQ(read_config_file(folder.path() / "none").error().code, errc::not_found);
  EXPECT_EQ(read_config_file(folder.path()).error().reason, "is_a_directory");
  const auto big = folder.write("big", std::string(max_yaml_bytes + 1, 'x'));
  EXPECT_EQ(read_config_file(big).error().reason, "yaml_too_large");
  EXPECT_EQ(read_config_file("/dev/zero").error().reason, "yaml_too_large");
  EXPECT_EQ(*read_config_file(folder.write("ok", "a: 1\n")), "a: 1\n");
}

}  // namespace
}  // namespace caged::config
