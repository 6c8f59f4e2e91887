#include "plugins/transport/llm/dialect.hpp"

namespace caged::transport_llm {
namespace {

request_facts facts(const char* path, const std::string& body) {
  const auto e = find_endpoint("POST", path, false).value();
  return inspect(e, body, json::parse(body)).value();
}

error wrong(const char* path, const std::string& body) {
  const auto e = find_endpoint("POST", path, false).value();
  return inspect(e, body, json::parse(body)).error();
}

TEST(Dialect, OnlyMeteredPathsAreKnown) {
  for (const char* path : {"/v1/files", "/v1/messages/batches", "/v1/responses/resp_1", "/v1/images/generations",
                           "/v1beta/models/../x:generateContent", "/v1beta/cachedContents", "/v1/messages/",
                           "//v1/messages", "/v1beta/models/a/b:generateContent", "/v1/chat/completions/x"})
    EXPECT_FALSE(find_endpoint("POST", path, false)) << path;
  EXPECT_FALSE(find_endpoint("GET", "/v1/messages", true));
  EXPECT_FALSE(find_endpoint("DELETE", "/v1/models/x", true));
  EXPECT_EQ(find_endpoint("GET", "/v1/models", true)->kind, "anthropic");
  EXPECT_EQ(find_endpoint("GET", "/v1/models", false)->kind, "openai");
  const auto g = find_endpoint("POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", false);
  EXPECT_EQ(g->model, "gemini-2.5-pro");
  EXPECT_TRUE(g->stream);
}

TEST(Dialect, BadRequestsAreRefusedWithThePlace) {
  EXPECT_EQ(wrong("/v1/messages", "[]").reason, "bad_request");
  EXPECT_EQ(wrong("/v1/messages", "{}").path, "/model");
  EXPECT_EQ(wrong("/v1/messages", R"({"model":"x","max_tokens":-5})").path, "/max_tokens");
  EXPECT_EQ(wrong("/v1/messages", R"({"model":"x","max_tokens":1.5})").path, "/max_tokens");
  EXPECT_EQ(wrong("/v1/chat/completions", R"({"model":"x","n":1000000})").path, "/n");
  EXPECT_EQ(wrong("/v1/responses", R"({"model":"x","background":true})").path, "/background");
}

TEST(Dialect, TheWorstCaseKnowsWhatSizeDoesNotTell) {
  const std::string plain = R"({"model":"x","max_tokens":7,"messages":[{"role":"user","content":"abc"}]})";
  EXPECT_GE(facts("/v1/messages", plain).worst_input, static_cast<std::int64_t>(plain.size()));
  EXPECT_EQ(facts("/v1/messages", plain).max_output, 7);
  EXPECT_EQ(
      facts("/v1/messages", R"({"model":"x","messages":[{"content":[{"type":"document","source":{"type":"url"}}]}]})")
          .worst_input,
      -1);
  EXPECT_EQ(facts("/v1/messages", R"({"model":"x","tools":[{"type":"web_search_20250305","name":"w"}]})").worst_input,
            -1);
  EXPECT_GT(facts("/v1/messages", R"({"model":"x","messages":[{"content":[{"type":"image"}]}]})").worst_input, 8000);
  EXPECT_EQ(facts("/v1/responses", R"({"model":"x","previous_response_id":"r"})").worst_input, -1);
  EXPECT_EQ(facts("/v1/responses", R"({"model":"x","previous_response_id":null})").worst_input, 105);
  EXPECT_EQ(facts("/v1beta/models/g:generateContent", R"({"cachedContent":"c"})").worst_input, -1);
  EXPECT_EQ(
      facts("/v1beta/models/g:generateContent", R"({"generationConfig":{"maxOutputTokens":9,"candidateCount":3}})")
          .choices,
      3);
  EXPECT_EQ(facts("/v1/chat/completions", R"({"model":"x","max_tokens":5,"max_completion_tokens":3})").max_output, 5);
  EXPECT_TRUE(facts("/v1/messages", R"({"model":"x","system":[{"cache_control":{"type":"ephemeral"}}]})").writes_cache);
}

TEST(Dialect, AClampChangesTheBoundAndNothingElse) {
  EXPECT_EQ(with_max_output(api::messages, R"({"z":1,"max_tokens":100,"a":[1.5]})", 20),
            R"({"z":1,"max_tokens":20,"a":[1.5]})");
  EXPECT_EQ(with_max_output(api::chat, R"({"model":"x"})", 20), R"({"model":"x","max_completion_tokens":20})");
  EXPECT_EQ(with_max_output(api::generate, R"({"contents":[]})", 20),
            R"({"contents":[],"generationConfig":{"maxOutputTokens":20}})");
  EXPECT_EQ(with_max_output(api::responses, R"({})", 20), R"({"max_output_tokens":20})");
  EXPECT_EQ(
      with_max_output(api::messages, R"({"max_tokens":9,"thinking":{"type":"enabled","budget_tokens":5000}})", 4000),
      R"({"max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":2000}})");
}

TEST(Dialect, UsageIsAskedForInStreams) {
  const std::string body = R"( {"model":"x","stream":true})";
  EXPECT_EQ(with_stream_usage(body, json::parse(body)),
            R"( {"stream_options":{"include_usage":true},"model":"x","stream":true})");
  const std::string has = R"({"stream_options":{"include_usage":false,"k":1}})";
  EXPECT_EQ(with_stream_usage(has, json::parse(has)), R"({"stream_options":{"include_usage":true,"k":1}})");
}

TEST(Dialect, RefusalsAreNotTriedAgain) {
  const error spent = fail(errc::limit_exceeded, "budget_exhausted", "m", "a");
  for (const char* kind : {"anthropic", "openai", "gemini"}) {
    const auto r = refusal(kind, spent);
    EXPECT_EQ(r.status, 402);
    EXPECT_TRUE(json::parse(r.body).contains("error"));
    EXPECT_NE(
        std::find(r.fields.begin(), r.fields.end(), std::pair<std::string, std::string>("X-Should-Retry", "false")),
        r.fields.end());
  }
}

}  // namespace
}  // namespace caged::transport_llm
