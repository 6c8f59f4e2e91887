// Holds the validator to the official JSON Schema test suite for 2020-12 (Debian: libtest-json-schema-acceptance-perl
// ships it; json-schema-test-suite of Debian 12 ends at draft 7 and is run for the keywords that did not change).
#include <gtest/gtest.h>

#include <caged/json_schema.hpp>
#include <filesystem>
#include <fstream>
#include <set>

namespace caged {
namespace {

namespace fs = std::filesystem;

const fs::path modern = "/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance";
const fs::path older = "/usr/share/json-schema-test-suite";

json read(const fs::path& file) {
  std::ifstream in(file);
  return json::parse(in);
}

// What the suite expects a server at localhost:1234 to give.
std::map<std::string, json> remotes(const fs::path& root) {
  std::map<std::string, json> out;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".json") continue;
    out["http://localhost:1234/" + entry.path().lexically_relative(root).string()] = read(entry.path());
  }
  return out;
}

struct tally {
  int passed = 0;
  int excluded = 0;
};

// `excluded` holds "file: description of the group", and must be refused at compile(): excluded, but never wrong.
tally run_file(const fs::path& file, const std::map<std::string, json>& documents, std::set<std::string>& excluded) {
  tally t;
  for (const json& group : read(file)) {
    const std::string title = file.filename().string() + ": " + group.at("description").get<std::string>();
    auto compiled = json_schema::compile(group.at("schema"), documents);
    if (excluded.erase(title) != 0) {
      EXPECT_TRUE(compiled.has_error()) << title << " is excluded but compiles";
      ++t.excluded;
      continue;
    }
    if (compiled.has_error()) {
      ADD_FAILURE() << title << ": " << describe(compiled.error());
      continue;
    }
    for (const json& test : group.at("tests")) {
      const auto wrong = compiled->validate(test.at("data"));
      EXPECT_EQ(wrong.empty(), test.at("valid").get<bool>())
          << title << ": " << test.at("description") << "\n  data " << test.at("data").dump().substr(0, 200)
          << (wrong.empty() ? "" : "\n  said " + wrong.front().path + " " + wrong.front().message);
      ++t.passed;
    }
  }
  return t;
}

TEST(JsonSchemaSuite, RequiredTestsOf2020_12) {
  ASSERT_TRUE(fs::exists(modern / "tests/draft2020-12")) << "install the package libtest-json-schema-acceptance-perl";
  const auto documents = remotes(modern / "remotes");
  std::set<std::string> excluded = {
      // Dialects of one's own ($vocabulary) are refused: a schema says 2020-12 or nothing.
      "vocabulary.json: schema that uses custom metaschema with with no validation vocabulary",
      "vocabulary.json: ignore unrecognized optional vocabulary",
  };
  tally all;
  for (const auto& entry : fs::directory_iterator(modern / "tests/draft2020-12")) {
    if (entry.path().extension() != ".json") continue;
    const tally t = run_file(entry.path(), documents, excluded);
    all.passed += t.passed;
    all.excluded += t.excluded;
  }
  EXPECT_GT(all.passed, 1000) << "the suite was not found whole";
  EXPECT_TRUE(excluded.empty()) << "excluded, but not in the suite: " << *excluded.begin();
}

// Optional tests that this validator takes on; the others are about formats (annotations here), content (the same),
// other drafts, big numbers beyond 64 bits, and ECMA details that RE2 cannot do.
TEST(JsonSchemaSuite, OptionalTestsOf2020_12) {
  ASSERT_TRUE(fs::exists(modern / "tests/draft2020-12")) << "install the package libtest-json-schema-acceptance-perl";
  std::set<std::string> excluded;
  for (const char* name : {"float-overflow.json", "non-bmp-regex.json", "unknownKeyword.json", "id.json",
                           "no-schema.json", "refOfUnknownKeyword.json"}) {
    const fs::path file = modern / "tests/draft2020-12/optional" / name;
    if (!fs::exists(file)) continue;
    EXPECT_GT(run_file(file, {}, excluded).passed, 0) << file;
  }
}

// A second, independent packaging of the suite: keywords whose meaning did not change since draft 7.
TEST(JsonSchemaSuite, UnchangedKeywordsOfDraft7) {
  ASSERT_TRUE(fs::exists(older / "tests/draft7")) << "install the package json-schema-test-suite";
  std::set<std::string> excluded;
  int passed = 0;
  for (const char* name : {"additionalProperties",
                           "allOf",
                           "anyOf",
                           "boolean_schema",
                           "const",
                           "contains",
                           "default",
                           "enum",
                           "exclusiveMaximum",
                           "exclusiveMinimum",
                           "if-then-else",
                           "maxItems",
                           "maxLength",
                           "maxProperties",
                           "maximum",
                           "minItems",
                           "minLength",
                           "minProperties",
                           "minimum",
                           "multipleOf",
                           "not",
                           "oneOf",
                           "pattern",
                           "patternProperties",
                           "properties",
                           "propertyNames",
                           "required",
                           "type",
                           "uniqueItems"})
    passed += run_file(older / "tests/draft7" / (std::string(name) + ".json"), {}, excluded).passed;
  EXPECT_GT(passed, 300);
}

}  // namespace
}  // namespace caged
