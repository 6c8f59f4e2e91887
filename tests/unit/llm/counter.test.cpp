#include "plugins/transport/llm/counter.hpp"

namespace caged::transport_llm {
namespace {

using form = answer_counter::form;
using usage_chunk = answer_counter::usage_chunk;

const std::string anthropic_stream =
    "event: message_start\ndata: "
    "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude\",\"usage\":{\"input_tokens\":25,\"cache_"
    "read_input_tokens\":5,"
    "\"cache_creation_input_tokens\":9,\"cache_creation\":{\"ephemeral_1h_input_tokens\":4},\"output_tokens\":1}}}\n\n"
    "event: ping\ndata: {\"type\":\"ping\"}\n\n"
    "event: content_block_delta\ndata: "
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello world, "
    "hello\"}}\n\n"
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n";

TEST(Counter, AStreamSplitAnywhereCountsTheSame) {
  for (std::size_t cut = 0; cut <= anthropic_stream.size(); ++cut) {
    answer_counter c(api::messages, form::events, usage_chunk::keep);
    std::string out = c.pass(anthropic_stream.substr(0, cut));
    out += c.pass(anthropic_stream.substr(cut));
    out += c.finish();
    ASSERT_EQ(out, anthropic_stream);
    const auto t = c.tokens(300);
    ASSERT_TRUE(c.exact());
    ASSERT_EQ(t.input, 25);
    ASSERT_EQ(t.output, 15);
    ASSERT_EQ(t.cache_read, 5);
    ASSERT_EQ(t.cache_write, 5);
    ASSERT_EQ(t.cache_write_1h, 4);
  }
}

TEST(Counter, ACutStreamIsEstimatedFromItsText) {
  answer_counter c(api::messages, form::events, usage_chunk::keep);
  (void)c.pass(anthropic_stream.substr(0, anthropic_stream.find("event: message_delta")));
  (void)c.finish();
  EXPECT_FALSE(c.exact());
  EXPECT_EQ(c.tokens(300).input, 25);
  EXPECT_EQ(c.tokens(300).output, 6);
  answer_counter nothing(api::messages, form::events, usage_chunk::keep);
  EXPECT_EQ(nothing.tokens(300).prompt(), 0);
}

TEST(Counter, TheUsageChunkNobodyAskedForIsTakenOut) {
  const std::string a = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
  const std::string usage =
      "data: "
      "{\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":8,\"prompt_tokens_details\":{\"cached_"
      "tokens\":10}}}\n\n";
  const std::string done = "data: [DONE]\n\n";
  for (std::size_t cut = 0; cut <= (a + usage + done).size(); ++cut) {
    answer_counter c(api::chat, form::events, usage_chunk::drop);
    const std::string whole = a + usage + done;
    std::string out = c.pass(whole.substr(0, cut));
    out += c.pass(whole.substr(cut));
    out += c.finish();
    ASSERT_EQ(out, a + done);
    ASSERT_EQ(c.tokens(0).input, 20);
    ASSERT_EQ(c.tokens(0).cache_read, 10);
  }
}

TEST(Counter, CarriageReturnsAndRubbishDoNotStopIt) {
  answer_counter c(api::chat, form::events, usage_chunk::drop);
  std::string out = c.pass(
      ": hello\r\n\r\ndata: {broken\r\n\r\ndata: [1]\n\ndata: {\"choices\":7,\"usage\":{\"prompt_tokens\":\"x\"}}\n\n");
  out += c.pass("data: {\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":1e300}}\n\nhalf");
  out += c.finish();
  EXPECT_TRUE(out.ends_with("half"));
  EXPECT_EQ(c.tokens(0).input, 0);
  EXPECT_EQ(c.tokens(0).output, 0);
}

TEST(Counter, DocumentsOfEveryKind) {
  answer_counter r(api::responses, form::document, usage_chunk::keep);
  (void)r.pass(
      R"({"id":"r","model":"m","usage":{"input_tokens":40,"input_tokens_details":{"cached_tokens":8},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":3}}})");
  (void)r.finish();
  EXPECT_EQ(r.tokens(0).input, 32);
  EXPECT_EQ(r.tokens(0).reasoning, 3);
  answer_counter g(api::generate, form::document, usage_chunk::keep);
  (void)g.pass(R"([{"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":1}},)");
  (void)g.pass(
      R"({"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":7,"thoughtsTokenCount":4,"cachedContentTokenCount":5}}])");
  (void)g.finish();
  EXPECT_TRUE(g.exact());
  EXPECT_EQ(g.tokens(0).output, 11);
  EXPECT_EQ(g.tokens(0).input, 15);
}

}  // namespace
}  // namespace caged::transport_llm
