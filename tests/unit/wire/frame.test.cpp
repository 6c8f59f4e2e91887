// The frame codec against honest and hostile streams.
#include <gtest/gtest.h>
#include <caged/wire/credit.hpp>
#include <caged/wire/frame.hpp>

#include <random>

namespace caged::wire {
namespace {

struct copy {
  frame_kind kind;
  std::uint32_t channel;
  std::string payload;
  bool operator==(const copy&) const = default;
};

std::vector<copy> drain(decoder& d, decoder::status& last) {
  std::vector<copy> out;
  frame f;
  while ((last = d.next(f)) == decoder::status::ready) out.push_back({f.kind, f.channel, std::string(f.payload)});
  return out;
}

std::string le32(std::uint32_t v) {
  std::string s;
  for (int i = 0; i < 4; ++i) s += static_cast<char>(v >> (8 * i));
  return s;
}

TEST(wire_frame, refuses_lengths_no_frame_can_have) {
  for (const std::uint32_t length : {0u, 4u, static_cast<std::uint32_t>(max_frame - 3), 0x7fffffffu, 0xffffffffu}) {
    decoder d;
    d.feed(le32(length));
    frame f;
    EXPECT_EQ(decoder::status::broken, d.next(f)) << length;
    EXPECT_FALSE(d.problem().empty());
    d.feed("more");
    EXPECT_EQ(decoder::status::broken, d.next(f));
    EXPECT_LT(d.capacity(), 64u << 10);
  }
}

TEST(wire_frame, skips_kinds_of_later_generations) {
  std::string stream;
  append_frame(stream, static_cast<frame_kind>(200), 1, "future");
  append_frame(stream, frame_kind::unset, 1, "zero");
  append_frame(stream, frame_kind::data, 7, "now");
  decoder d;
  d.feed(stream);
  decoder::status last{};
  EXPECT_EQ((std::vector<copy>{{frame_kind::data, 7, "now"}}), drain(d, last));
  EXPECT_EQ(decoder::status::need_more, last);
}

TEST(wire_frame, round_trips_however_the_stream_is_cut) {
  std::mt19937 random(7);
  std::string stream;
  std::vector<copy> sent;
  for (int i = 0; i < 200; ++i) {
    const std::size_t size = i % 50 == 0 ? max_payload : random() % 3000;
    copy c{static_cast<frame_kind>(1 + random() % 7), static_cast<std::uint32_t>(random()),
           std::string(size, static_cast<char>(i))};
    append_frame(stream, c.kind, c.channel, c.payload);
    sent.push_back(std::move(c));
  }
  decoder d;
  std::vector<copy> got;
  for (std::size_t at = 0; at < stream.size();) {
    const auto room = d.prepare();
    ASSERT_GT(room.size(), 0u);
    const std::size_t n = std::min({room.size(), stream.size() - at, static_cast<std::size_t>(1 + random() % 70000)});
    std::copy_n(stream.data() + at, n, room.data());
    d.commit(n);
    at += n;
    decoder::status last{};
    for (copy& c : drain(d, last)) got.push_back(std::move(c));
    ASSERT_EQ(decoder::status::need_more, last);
    ASSERT_LE(d.capacity(), 2 * max_frame + (64u << 10));
  }
  EXPECT_TRUE(sent == got);
}

TEST(wire_frame, messages_in_parts_come_together_and_are_bounded) {
  std::string stream;
  const std::string big(3 * max_payload + 17, 'm');
  append_message(stream, 0, big);
  append_message(stream, 0, "small");
  decoder d;
  message_joiner joiner;
  d.feed(stream);
  frame f;
  std::vector<std::string> got;
  std::string text;
  while (d.next(f) == decoder::status::ready)
    if (joiner.add(f, text)) got.push_back(text);
  EXPECT_TRUE((std::vector<std::string>{big, "small"}) == got);
  const std::string part(max_payload, 'x');
  frame endless{frame_kind::message_part, 0, part};
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(joiner.add(endless, text));
  EXPECT_TRUE(joiner.too_large());
}

TEST(wire_credit, a_receiver_notices_a_sender_without_credit) {
  receive_window receiver;
  EXPECT_TRUE(receiver.receive(initial_credit));
  EXPECT_FALSE(receiver.receive(1));
  EXPECT_EQ(0u, receiver.consume(10));
  EXPECT_EQ(initial_credit, receiver.consume(initial_credit - 10));
  EXPECT_TRUE(receiver.receive(initial_credit));
}

TEST(wire_credit, a_sender_stops_and_refuses_absurd_grants) {
  send_window sender;
  sender.spend(initial_credit);
  EXPECT_EQ(0u, sender.available());
  EXPECT_TRUE(sender.grant(5));
  EXPECT_EQ(5u, sender.available());
  EXPECT_FALSE(sender.grant(0xffffffffu));
  EXPECT_EQ(0u, credit_of("abc"));
  EXPECT_EQ(258u, credit_of(std::string("\2\1\0\0", 4)));
}

}  // namespace
}  // namespace caged::wire
