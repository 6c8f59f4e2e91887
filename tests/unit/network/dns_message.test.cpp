// DNS messages from a sandbox and from a resolver, both of which may lie.
#include "core/network/dns_message.hpp"

#include <gtest/gtest.h>

#include "core/network/resolver.hpp"

namespace caged::network::dns {
namespace {

const std::string question_a = encode_question(7, "good.example", type_a);

// The answer's head for `count` records.
std::string answer_head(unsigned count, std::uint16_t id = 7, char code = 0) {
  std::string out = question_a.substr(0, question_a.size() - 11);  // without EDNS
  out[0] = static_cast<char>(id >> 8);
  out[1] = static_cast<char>(id & 0xff);
  out[2] = static_cast<char>(0x81);
  out[3] = static_cast<char>(0x80 | code);
  out[7] = static_cast<char>(count);
  out[11] = 0;
  return out;
}
const std::string name_pointer("\xc0\x0c", 2), a_record = name_pointer + std::string("\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x0a", 14);

TEST(DnsMessage, BadQuestionsAreNone) {
  EXPECT_TRUE(parse_question(question_a));
  for (std::size_t n = 0; n < question_a.size(); ++n) EXPECT_FALSE(parse_question(question_a.substr(0, n))) << n;
  const auto with = [](std::size_t at, char value) {
    std::string s = question_a;
    s[at] = value;
    return parse_question(s);
  };
  EXPECT_FALSE(with(2, static_cast<char>(0x81))) << "an answer";
  EXPECT_FALSE(with(2, 0x28)) << "an update";
  EXPECT_FALSE(with(5, 2)) << "two questions";
  EXPECT_FALSE(with(7, 1)) << "a question with an answer";
  EXPECT_FALSE(with(13, '.')) << "a dot in a label";
  EXPECT_FALSE(with(13, '\0')) << "a zero in a label";
  EXPECT_FALSE(with(12, '\xc0')) << "a pointer in a question's name";
  EXPECT_EQ(with(13, 'G')->name, "good.example");
}

TEST(DnsMessage, CompressionEndsAlways) {
  for (const std::string& name : {std::string("\xc0\x0c", 2), std::string("\xc0\x1e", 2), std::string("\xc0\xff", 2), std::string("\xff\xff", 2),
                                  std::string("\x3f" "a", 2)}) {
    const std::string message = answer_head(1) + (name == name_pointer ? std::string("\xc0\x1e", 2) : name) + std::string("\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 14);
    const auto a = parse_answer(message, 7, "good.example", type_a);
    EXPECT_TRUE(!a || a->records.empty());
  }
}

TEST(DnsMessage, OnlyTheAnswerToTheQuestionCounts) {
  const std::string good = answer_head(1) + a_record;
  ASSERT_TRUE(parse_answer(good, 7, "good.example", type_a));
  EXPECT_EQ(address_of(parse_answer(good, 7, "good.example", type_a)->records.at(0)).to_string(), "203.0.113.10");
  EXPECT_FALSE(parse_answer(good, 8, "good.example", type_a));
  EXPECT_FALSE(parse_answer(good, 7, "other.example", type_a));
  EXPECT_FALSE(parse_answer(good, 7, "good.example", type_aaaa));
  EXPECT_FALSE(parse_answer(question_a, 7, "good.example", type_a)) << "our own question, sent back";
  EXPECT_TRUE(parse_answer(answer_head(9) + a_record, 7, "good.example", type_a)) << "fewer records than told";
  std::string wrong_size = good;
  wrong_size[wrong_size.size() - 5] = 3;
  EXPECT_TRUE(parse_answer(wrong_size, 7, "good.example", type_a)->records.empty());
}

TEST(DnsMessage, AddressesOfNamesNobodyAskedForAreLeftOut) {
  answer a;
  a.records = {address_record("good.example", boost::asio::ip::make_address("203.0.113.10"), 5),
               address_record("planted.example", boost::asio::ip::make_address("203.0.113.66"), 5)};
  EXPECT_EQ(addresses_in(a, "good.example").size(), 1u);
}

TEST(DnsMessage, AnswersFitAndComeBack) {
  const auto q = parse_question(question_a);
  answer a;
  for (int i = 0; i < 60; ++i) a.records.push_back(address_record("good.example", boost::asio::ip::make_address("203.0.113." + std::to_string(i)), 5));
  const std::string text = encode_answer(*q, a, 512, "because");
  EXPECT_LE(text.size(), 512u);
  const auto back = parse_answer(text, 7, "good.example", type_a);
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->truncated);
  EXPECT_GT(back->records.size(), 5u);
  EXPECT_FALSE(parse_answer(encode_answer(*q, a, 65535), 7, "good.example", type_a)->truncated);
}

}  // namespace
}  // namespace caged::network::dns
