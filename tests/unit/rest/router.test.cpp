#include "plugins/transport/rest/router.hpp"

#include <gtest/gtest.h>

#include "plugins/transport/rest/input.hpp"
#include "plugins/transport/rest/text.hpp"

namespace caged::rest {
namespace {

operation_info route(std::string name, std::string method, std::string path) {
  operation_info info;
  info.name = std::move(name);
  info.method = std::move(method);
  info.path = std::move(path);
  return info;
}

TEST(router, claims_and_malformed_templates_are_refused) {
  const auto a = route("a", "GET", "/v1/{id}"), b = route("b", "GET", "/v1/{other}"), c = route("c", "GET", "/v1/{id"),
             d = route("d", "GET", "v1"), e = route("e", "GET", "/v1//x");
  EXPECT_EQ(router::make({&a, &b}).error().reason, "bad_route");
  for (const auto* one : {&c, &d, &e}) EXPECT_TRUE(router::make({one}).has_error()) << one->path;
}

TEST(router, matches_raw_segments_and_decodes_afterwards) {
  const auto get = route("get", "GET", "/v1/sandboxes/{id}"), put = route("put", "PUT", "/v1/sandboxes/{id}"),
             replay = route("replay", "GET", "/v1/sandboxes/replay"),
             exec = route("exec", "POST", "/v1/sandboxes/{id}/exec");
  const auto made = router::make({&get, &put, &replay, &exec}).value();
  EXPECT_EQ(made.match("GET", "/v1/sandboxes/a%2Fb").parameters.at("id"), "a/b");
  EXPECT_EQ(made.match("HEAD", "/v1/sandboxes/x").operation, &get);
  EXPECT_EQ(made.match("GET", "/v1/sandboxes/replay").operation, &replay);
  EXPECT_EQ(made.match("PUT", "/v1/sandboxes/replay").operation, nullptr);
  EXPECT_EQ(made.match("POST", "/v1/sandboxes/x/exec").operation, &exec);
  const auto wrong = made.match("DELETE", "/v1/sandboxes/x");
  EXPECT_EQ(wrong.operation, nullptr);
  EXPECT_EQ(wrong.allowed, (std::vector<std::string>{"GET", "HEAD", "PUT", "OPTIONS"}));
  for (const char* path : {"", "/", "/v1", "/v1/sandboxes/", "/v1/sandboxes/..", "/v1/sandboxes/%2e%2e",
                           "/v1/sandboxes/%", "/v1/sandboxes/%ff", "/v1/sandboxes/%00", "/v1//sandboxes/x",
                           "/v1/%73andboxes/x", "/v1/sandboxes/a/b", "/V1/sandboxes/a", "/v1/sandboxes/x/exec/"})
    EXPECT_TRUE(made.match("GET", path).allowed.empty()) << path;
}

TEST(input, texts_become_what_the_schema_asks_for) {
  const json integer{{"type", "integer"}}, number{{"type", {"number", "null"}}}, boolean{{"type", "boolean"}},
      any = json::object();
  EXPECT_EQ(typed_value("42", integer), json(42));
  EXPECT_EQ(typed_value("18446744073709551615", integer), json(18446744073709551615ull));
  EXPECT_EQ(typed_value("4.5", number), json(4.5));
  EXPECT_EQ(typed_value("null", number), json(nullptr));
  EXPECT_EQ(typed_value("true", boolean), json(true));
  EXPECT_EQ(typed_value("", boolean), json(true));
  for (const char* text : {"4.5", "", "0x10", "1e3", " 1", "1 ", "99999999999999999999"})
    EXPECT_EQ(typed_value(text, integer), json(text)) << text;
  for (const char* text : {"inf", "nan", "1e999"}) EXPECT_EQ(typed_value(text, number), json(text)) << text;
  EXPECT_EQ(typed_value("yes", boolean), json("yes"));
  EXPECT_EQ(typed_value("42", any), json("42"));
  EXPECT_EQ(typed_value("42", {{"anyOf", {{{"type", "integer"}}, {{"type", "string"}}}}}), json("42"));
}

TEST(text, ranges_and_ids) {
  for (const char* text :
       {"", "bytes", "bytes=", "bytes=-", "bytes=5-1", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-1-2"})
    EXPECT_FALSE(parse_range(text)) << text;
  EXPECT_EQ(*parse_range("bytes=-5")->last, 5u);
  EXPECT_FALSE(is_request_id("a b"));
  EXPECT_FALSE(is_request_id(std::string(65, 'a')));
  EXPECT_TRUE(is_request_id("req-1.2_3"));
  EXPECT_FALSE(is_utf8("\xc0\x80"));
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));
  EXPECT_TRUE(is_utf8("grüß 🙂"));
}

}  // namespace
}  // namespace caged::rest
