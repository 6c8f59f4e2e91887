// Streams over one port: what an honest other side gets, and what a hostile one cannot do.
#include <caged/wire/bundle.hpp>

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace caged::wire {
namespace {

struct side final : bundle_events {
  bundle port{*this};
  std::map<std::uint32_t, std::string> got;
  std::vector<std::uint32_t> opens, closes;
  std::vector<std::string> messages;
  int holds = 0;

  void opened(std::uint32_t stream) override { opens.push_back(stream); }
  void data(std::uint32_t stream, std::string_view bytes) override { got[stream].append(bytes); }
  void closed(std::uint32_t stream) override { closes.push_back(stream); }
  void writable() override {}
  void held() override { ++holds; }
  void message(const std::string& text) override { messages.push_back(text); }

  bool read(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto room = port.prepare();
      const std::size_t n = std::min(room.size(), bytes.size());
      std::memcpy(room.data(), bytes.data(), n);
      if (!port.took(n)) return false;
      bytes.remove_prefix(n);
    }
    return true;
  }
};

bool carry(side& from, side& to) {
  const std::string bytes = std::exchange(from.port.out(), {});
  return to.read(bytes);
}

std::string frame_of(frame_kind kind, std::uint32_t channel, std::string_view payload = {}) {
  std::string out;
  append_frame(out, kind, channel, payload);
  return out;
}

TEST(bundle, carries_several_streams_and_their_ends) {
  side host, guest;
  const auto one = host.port.open(), two = host.port.open();
  ASSERT_TRUE(carry(host, guest));
  EXPECT_EQ(guest.opens, (std::vector<std::uint32_t>{one, two}));
  host.port.send(one, "first");
  guest.port.send(two, "second");
  ASSERT_TRUE(carry(host, guest) && carry(guest, host));
  EXPECT_EQ(guest.got[one], "first");
  EXPECT_EQ(host.got[two], "second");
  guest.port.close(one);
  ASSERT_TRUE(carry(guest, host));
  EXPECT_EQ(host.closes, std::vector<std::uint32_t>{one});
  EXPECT_FALSE(host.port.has(one));
}

TEST(bundle, a_stream_without_a_reader_stops_and_the_others_go_on) {
  side host, guest;
  const auto slow = host.port.open(), quick = host.port.open();
  ASSERT_TRUE(carry(host, guest));
  const std::string piece(data_chunk, 'x');
  std::size_t sent = 0;
  for (std::size_t room = 0; (room = guest.port.room(slow)) > 0; sent += room) {
    guest.port.send(slow, piece.substr(0, room));
    ASSERT_TRUE(carry(guest, host));
  }
  EXPECT_EQ(sent, initial_credit);
  EXPECT_EQ(host.got[slow].size(), initial_credit);
  guest.port.send(quick, "here");
  ASSERT_TRUE(carry(guest, host));
  EXPECT_EQ(host.got[quick], "here");
  host.port.consumed(slow, initial_credit);
  ASSERT_TRUE(carry(host, guest));
  EXPECT_GT(guest.port.room(slow), 0u);
}

TEST(bundle, holds_between_two_frames) {
  side host, guest;
  const auto stream = host.port.open();
  ASSERT_TRUE(carry(host, guest));
  guest.port.send(stream, "before");
  guest.port.hold();
  EXPECT_EQ(guest.port.room(stream), 0u);
  ASSERT_TRUE(carry(guest, host));
  EXPECT_EQ(host.holds, 1);
  EXPECT_EQ(host.got[stream], "before");
  guest.port.go_on();
  EXPECT_GT(guest.port.room(stream), 0u);
}

TEST(bundle, refuses_what_breaks_its_rules) {
  const std::string open = frame_of(frame_kind::message, 1);
  const std::string much = frame_of(frame_kind::data, 1, std::string(initial_credit + 1, 'x'));
  std::string grants = open;
  for (int i = 0; i < 2; ++i) append_credit(grants, 1, 0x7fffffff);
  std::string endless;
  for (int i = 0; i < 10; ++i) endless += frame_of(frame_kind::message_part, 0, std::string(max_payload, 'x'));
  for (const std::string& bad : {open + open, open + much, grants, endless, std::string("\xff\xff\xff\xff\x01", 5),
                                 std::string("\0\0\0\0\x01", 5)}) {
    side host;
    EXPECT_FALSE(host.read(bad)) << bad.size();
    EXPECT_STRNE(host.port.problem(), "");
  }
}

TEST(bundle, answers_a_flood_of_streams_with_refusals) {
  side host;
  std::string flood;
  for (std::uint32_t i = 1; i <= 1000; ++i) flood += frame_of(frame_kind::message, i);
  ASSERT_TRUE(host.read(flood));
  EXPECT_EQ(host.port.streams(), bundle::most_streams);
  EXPECT_EQ(host.opens.size(), bundle::most_streams);
}

TEST(bundle, ignores_frames_of_streams_that_are_not_open) {
  side host;
  ASSERT_TRUE(host.read(frame_of(frame_kind::data, 7, "x") + frame_of(frame_kind::reset, 7)));
  EXPECT_TRUE(host.got.empty());
  EXPECT_TRUE(host.closes.empty());
}

TEST(bundle, survives_noise) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    side host;
    host.port.open();
    std::string noise;
    for (int i = 0; i < 40; ++i) {
      const auto kind = static_cast<frame_kind>(random() % 9);
      noise += frame_of(kind, random() % 4, std::string(random() % 300, static_cast<char>(random())));
      if (random() % 20 == 0) noise[random() % noise.size()] = static_cast<char>(random());
    }
    host.read(noise);  // whatever it answers: it neither crashes nor grows without bound
    EXPECT_LT(host.port.out().size(), 1u << 20);
  }
}

}  // namespace
}  // namespace caged::wire
