// Messages and the handshake against honest and hostile peers.
#include <gtest/gtest.h>
#include <caged/wire/message.hpp>

namespace caged::wire {
namespace {

std::string reason_of(const json& hello_message) {
  try {
    agree(hello_message);
  } catch (const failed& f) {
    return f.get().reason;
  }
  return "";
}

TEST(wire_message, refuses_what_is_no_json_or_too_deep) {
  for (const char* text : {"", "{", "nonsense", "{\"a\":}", "\"\xff\"", "{} {}"}) EXPECT_FALSE(parse(text)) << text;
  EXPECT_FALSE(parse(std::string(65, '[') + std::string(65, ']')));
  EXPECT_TRUE(parse(std::string(64, '[') + std::string(64, ']')));
  EXPECT_TRUE(parse("\"" + std::string(100, '[') + "\\\"\""));
}

TEST(wire_message, prints_invalid_utf8_instead_of_throwing) { EXPECT_EQ("\"a\xef\xbf\xbd\"", to_text(json("a\xff"))); }

TEST(wire_message, failures_round_trip_and_bad_ones_become_empty) {
  const failure f{"not_found", "no_such_file", "open /x", "Look.", "/path"};
  const failure g = failure_from(to_json(f));
  EXPECT_EQ(f.code + f.reason + f.message + f.action + f.path, g.code + g.reason + g.message + g.action + g.path);
  EXPECT_EQ("", failure_from(json{{"code", 7}, {"reason", nullptr}}).code);
  EXPECT_EQ("", failure_from(json(5)).message);
}

TEST(wire_handshake, the_lower_generation_wins_and_unknown_fields_are_ignored) {
  json later = hello({{"something_new", {1, 2}}});
  later["hello"]["generation"] = 99;
  EXPECT_EQ(generation, agree(later).generation);
  EXPECT_EQ(5, agree(hello({{"heartbeat_ms", 5}})).peer.at("heartbeat_ms"));
}

TEST(wire_handshake, refuses_strangers_and_generations_out_of_reach) {
  for (const char* text : {"{}", "[]", "5", "{\"hello\":5}", "{\"hello\":{\"protocol\":\"http\",\"generation\":1}}"})
    EXPECT_EQ("bad_handshake", reason_of(*parse(text))) << text;
  for (const char* g : {"0", "-1", "\"1\"", "1.5", "null"})
    EXPECT_EQ("generation_mismatch",
              reason_of(*parse(std::string("{\"hello\":{\"protocol\":\"caged-wire\",\"generation\":") + g + "}}")))
        << g;
  EXPECT_EQ("generation_mismatch",
            reason_of(*parse("{\"hello\":{\"protocol\":\"caged-wire\",\"generation\":9,\"oldest\":2}}")));
}

}  // namespace
}  // namespace caged::wire
