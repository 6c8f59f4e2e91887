// What the validator says to people, what it refuses at compile(), and that hostile input costs little.
#include <gtest/gtest.h>

#include <caged/json_schema.hpp>
#include <chrono>

namespace caged {
namespace {

json_schema compiled(const char* text) { return json_schema::compile(json::parse(text)).value(); }

error refused(const char* schema) {
  auto r = json_schema::compile(json::parse(schema));
  EXPECT_TRUE(r.has_error()) << schema;
  return r.has_error() ? r.error() : error{};
}

std::string said(const char* schema, const char* instance) {
  const auto wrong = compiled(schema).validate(json::parse(instance));
  return wrong.empty() ? "" : wrong.front().path + ": " + wrong.front().message;
}

TEST(JsonSchema, NamesFoundAndExpected) {
  EXPECT_EQ(said(R"({"type":"integer"})", R"("abc")"), ": found the string \"abc\", expected an integer");
  EXPECT_EQ(said(R"({"type":["string","null"]})", "2.5"), ": found the number 2.5, expected null or a string");
  EXPECT_EQ(said(R"({"minimum":1})", "0"), ": found the number 0, expected at least 1");
  EXPECT_EQ(said(R"({"items":{"maxLength":2}})", R"(["ab","äöü"])"), "/1: found 3 characters, expected at most 2");
  EXPECT_EQ(said(R"({"pattern":"^[a-z]+$"})", R"("A")"),
            ": found the string \"A\", expected text that matches the pattern ^[a-z]+$");
  EXPECT_EQ(said(R"({"required":["cpu"]})", "{}"), ": the property \"cpu\" is missing");
  EXPECT_EQ(said(R"({"uniqueItems":true})", "[1,2,1.0]"),
            "/2: found the number 1.0 a second time (first at index 0), expected distinct items");
  EXPECT_EQ(said(R"({"properties":{"a/b":{"properties":{"~":{"const":3}}}}})", R"({"a/b":{"~":4}})"),
            "/a~1b/~0: found the number 4, expected 3");
}

TEST(JsonSchema, NamesTheNearMiss) {
  const char* schema = R"({"properties":{"memory":{},"cpus":{},"disk":{}},"additionalProperties":false})";
  EXPECT_EQ(said(schema, R"({"memroy":1})"),
            "/memroy: the property \"memroy\" is not known here; did you mean \"memory\"?");
  EXPECT_EQ(said(schema, R"({"zzz":1})"),
            "/zzz: the property \"zzz\" is not known here; known are: cpus, disk, memory");
  EXPECT_EQ(said(schema, R"({"cpu":1,"cpus":2})"),
            "/cpu: the property \"cpu\" is not known here; known are: cpus, disk, memory");
  EXPECT_EQ(said(R"({"enum":["allowlist","none"]})", R"("alowlist")"),
            ": found the string \"alowlist\", expected one of \"allowlist\", \"none\"; did you mean \"allowlist\"?");
  EXPECT_EQ(nearest("mem", {"cpu", "memory"}), "memory");
  EXPECT_EQ(nearest("networkMode", {"network_mode", "env"}), "network_mode");
  EXPECT_EQ(nearest("xyz", {"cpu", "memory"}), "");
  EXPECT_EQ(nearest("", {"cpu"}), "");
}

TEST(JsonSchema, ExplainsTheAlternativeThatWasMeant) {
  const char* schema = R"({"anyOf":[{"type":"string"},
      {"type":"object","properties":{"url":{"type":"string"}},"required":["url"],"additionalProperties":false}]})";
  EXPECT_EQ(said(schema, R"({"url":5})"), "/url: found the number 5, expected a string");
  EXPECT_EQ(said(schema, "5"), ": found the number 5, expected a string or an object");
  EXPECT_EQ(said(R"({"anyOf":[{"const":0},{"minimum":0.5,"maximum":8.0}]})", "900"),
            ": found the number 900, expected 0 or at most 8");
  EXPECT_EQ(said(R"({"oneOf":[{"minimum":1},{"maximum":5}]})", "3"),
            ": found the number 3, which fits alternatives 1 and 2, expected exactly one");
}

TEST(JsonSchema, OrdersAndLimitsViolations) {
  const auto schema = compiled(R"({"items":{"type":"string"},"maxItems":2})");
  json many = json::array();
  for (int i = 0; i < 100; ++i) many.push_back(i);
  const auto wrong = schema.validate(many);
  ASSERT_EQ(wrong.size(), 20u);
  EXPECT_EQ(wrong[0].path, "");
  EXPECT_EQ(wrong[3].path, "/2");
  EXPECT_EQ(wrong[11].path, "/10");
  const auto checked = schema.check(many);
  ASSERT_TRUE(checked.has_error());
  EXPECT_EQ(checked.error().code, errc::invalid_argument);
  EXPECT_EQ(checked.error().reason, "invalid_input");
  EXPECT_EQ(checked.error().message, "found 100 items, expected at most 2 (and 19 more)");
  EXPECT_TRUE(schema.check(json::parse(R"(["a"])")).has_value());
}

TEST(JsonSchema, RefusesBadSchemas) {
  const error type = refused(R"({"properties":{"a":{"type":"strng"}}})");
  EXPECT_EQ(type.reason, "schema_malformed");
  EXPECT_EQ(type.path, "/properties/a/type");
  EXPECT_NE(type.message.find("\"strng\""), std::string::npos) << type.message;
  EXPECT_EQ(refused(R"({"minLength":-1})").path, "/minLength");
  EXPECT_EQ(refused("[]").reason, "schema_malformed");
  EXPECT_EQ(refused(R"({"$schema":"http://json-schema.org/draft-07/schema#"})").reason, "schema_dialect_unknown");
  const error elsewhere = refused(R"({"properties":{"a":{"$ref":"https://example.com/x.json"}}})");
  EXPECT_EQ(elsewhere.reason, "schema_reference_unknown");
  EXPECT_EQ(elsewhere.path, "/properties/a/$ref");
  EXPECT_EQ(refused(R"({"$ref":"#/$defs/gone"})").reason, "schema_reference_unknown");
  EXPECT_EQ(refused(R"({"$ref":"#gone"})").reason, "schema_reference_unknown");
  EXPECT_EQ(refused(R"_({"pattern":"("})_").reason, "pattern_malformed");
  EXPECT_EQ(refused(R"_({"pattern":"a(?=b)"})_").path, "/pattern");
  EXPECT_EQ(refused(R"_({"pattern":"(a)\\1"})_").reason, "pattern_malformed");
  EXPECT_EQ(refused(R"({"patternProperties":{"\\":{}}})").reason, "pattern_malformed");
}

TEST(JsonSchema, TakesEcmaPatterns) {
  const auto fits = [](const char* pattern, const std::string& text) {
    json schema = {{"pattern", pattern}};
    return json_schema::compile(schema).value().validate(text).empty();
  };
  EXPECT_TRUE(fits("^\\d{3}$", "123"));
  EXPECT_FALSE(fits("^\\d{3}$", "123\n"));
  EXPECT_FALSE(fits("^a$", "b\na"));
  EXPECT_TRUE(fits("^\\u00e4\\uD83D\\uDC32$", "ä🐲"));
  EXPECT_TRUE(fits("^\\s$", "\u00a0"));
  EXPECT_TRUE(fits("^[^]$", "\n"));
  EXPECT_FALSE(fits("[]", "a"));
  EXPECT_FALSE(fits("^.$", "\n"));
  EXPECT_TRUE(fits("^(?<word>\\p{Letter}+)$", "Äé"));
  EXPECT_TRUE(fits("^[[:]$", "["));
  EXPECT_TRUE(fits("^\\cI$", "\t"));
}

TEST(JsonSchema, EndsOnEndlessSchemas) {
  EXPECT_NE(said(R"({"$ref":"#"})", "1"), "");
  EXPECT_NE(said(R"({"anyOf":[{"$ref":"#"},{"$ref":"#"}]})", "1"), "");
  EXPECT_EQ(said(R"({"properties":{"next":{"$ref":"#"}},"type":"object"})", R"({"next":{"next":{}}})"), "");
}

TEST(JsonSchema, CostsLittleOnHostileInput) {
  const auto started = std::chrono::steady_clock::now();
  json many = json::array();
  for (int i = 0; i < 100'000; ++i) many.push_back(i);
  EXPECT_TRUE(compiled(R"({"uniqueItems":true})").validate(many).empty());
  EXPECT_FALSE(compiled(R"({"pattern":"^(a+)+$"})").validate(std::string(50'000, 'a') + "b").empty());
  json unknown = json::object();
  for (int i = 0; i < 20'000; ++i) unknown["key" + std::to_string(i)] = i;
  EXPECT_EQ(compiled(R"({"properties":{"keys":{}},"additionalProperties":false})").validate(unknown).size(), 20u);
  json deep;
  for (int i = 0; i < 5'000; ++i) deep = json::array({std::move(deep)});
  EXPECT_FALSE(compiled(R"({"items":{"$ref":"#"}})").validate(deep).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(8));
}

TEST(JsonSchema, FillsInDefaults) {
  const json schema = json::parse(R"({"properties":{"a":{"default":1},
      "b":{"properties":{"c":{"default":"x"}}},"d":{"default":{},"properties":{"e":{"default":true}}}}})");
  json value = json::parse(R"({"b":{}})");
  apply_defaults(schema, value);
  EXPECT_EQ(value, json::parse(R"({"a":1,"b":{"c":"x"},"d":{"e":true}})"));
  json given = json::parse(R"({"a":null,"b":"text","d":{"e":false}})");
  const json before = given;
  apply_defaults(schema, given);
  EXPECT_EQ(given, before);
}

TEST(JsonSchema, OutlivesItsSource) {
  std::optional<json_schema> schema;
  {
    json source = json::parse(R"({"properties":{"a":{"enum":[1,2]}},"$defs":{"x":{"const":7}}})");
    schema.emplace(json_schema::compile(source).value());
  }
  EXPECT_TRUE(schema->validate(json{{"a", 2}}).empty());
  EXPECT_FALSE(schema->validate(json{{"a", 3}}).empty());
}

}  // namespace
}  // namespace caged
