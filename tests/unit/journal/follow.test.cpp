// Followers: from any position, live, slow, many, cancelled. Each event once, in order.
#include <gtest/gtest.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

using ids = std::vector<std::uint64_t>;
using source = std::shared_ptr<item_source>;

// Parameters by value; nothing is captured.
task<ids> read_ids(source s, std::size_t count, std::chrono::microseconds pause) {
  ids seen;
  while (seen.size() < count) {
    auto item = co_await s->next();
    if (!item) co_return item.error();
    if (!*item) break;
    seen.push_back(std::stoull((*item)->id));
    if (pause.count() > 0) {
      asio::steady_timer timer(co_await asio::this_coro::executor, pause);
      co_await timer.async_wait(use_tuple);
    }
  }
  co_return seen;
}

ids range(std::uint64_t first, std::uint64_t last) {
  ids all;
  for (auto i = first; i <= last; ++i) all.push_back(i);
  return all;
}

std::future<result<ids>> begin(world& w, source s, std::size_t count, std::chrono::microseconds pause = {}) {
  return asio::co_spawn(w.l.executor(), read_ids(std::move(s), count, pause), asio::use_future);
}

void publish(world& w, int count) {
  for (int i = 0; i < count; ++i) w.log.publish(fact("s" + std::to_string(i % 2), i % 3 == 0 ? "error" : "command", i));
}

TEST(follow, replays_then_goes_live) {
  world w;
  publish(w, 1000);
  ASSERT_TRUE(w.l.run(w.log.flush()));
  journal::follow_query q;
  q.after_id = 0;
  auto all = begin(w, w.log.follow(q), 1500);
  q.after_id = 990;
  auto tail = begin(w, w.log.follow(q), 510);
  q.after_id.reset();
  auto live = begin(w, w.log.follow(q), 500);
  q.after_id = 1200;
  auto future = begin(w, w.log.follow(q), 300);
  publish(w, 500);
  EXPECT_EQ(all.get().value(), range(1, 1500));
  EXPECT_EQ(tail.get().value(), range(991, 1500));
  EXPECT_EQ(live.get().value(), range(1001, 1500));
  EXPECT_EQ(future.get().value(), range(1201, 1500)) << "a position ahead of the journal waits for it";
}

TEST(follow, filters) {
  world w;
  journal::follow_query q;
  q.after_id = 0;
  q.session_id = "s1";
  q.types = {"error"};
  auto s = w.log.follow(q);
  publish(w, 600);
  auto live = w.l.run(read_ids(s, 100, {})).value();
  auto replayed = w.l.run(read_ids(w.log.follow(q), 100, {})).value();
  EXPECT_EQ(live.size(), 100u);
  EXPECT_EQ(live, replayed);
  for (const auto id : live) EXPECT_EQ((id - 1) % 6, 3u);
}

TEST(follow, an_item_carries_the_event) {
  world w;
  auto s = w.log.follow({});
  event e = fact("s", "file_op", json::parse(R"({"path":"/x"})"));
  e.sandbox_id = "cage-1";
  w.append(e);
  auto item = w.l.run(s->next()).value();
  ASSERT_TRUE(item);
  EXPECT_EQ(item->id, "1");
  EXPECT_EQ(item->event, "file_op");
  EXPECT_EQ(item->data.at("sandbox_id"), "cage-1");
  EXPECT_EQ(item->data.at("data").at("path"), "/x");
  EXPECT_EQ(item->data.at("sequence"), 1);
}

TEST(follow, slow_readers_miss_nothing_and_hold_up_nobody) {
  journal::options o;
  o.follower_events = 16;
  world w(4, o);
  journal::follow_query q;
  q.after_id = 0;
  std::vector<std::future<result<ids>>> slow;
  for (int i = 0; i < 6; ++i) slow.push_back(begin(w, w.log.follow(q), 4000, std::chrono::microseconds(i * 30)));
  auto idle = w.log.follow(q);  // never reads until the end
  for (int i = 0; i < 40; ++i) {
    publish(w, 100);
    w.append(fact("s0"));
  }
  for (auto& s : slow) EXPECT_EQ(s.get().value(), range(1, 4000));
  EXPECT_EQ(w.l.run(read_ids(idle, 4040, {})).value(), range(1, 4040));
}

TEST(follow, bytes_are_bounded_too) {
  journal::options o;
  o.follower_bytes = 10000;
  world w(1, o);
  auto s = w.log.follow({});
  for (int i = 0; i < 50; ++i) w.append(fact("s", "command", std::string(3000, 'x')));
  EXPECT_EQ(w.l.run(read_ids(s, 50, {})).value(), range(1, 50));
}

TEST(follow, ends_with_the_journal) {
  world w;
  auto waiting = begin(w, w.log.follow({}), 10);
  auto with_rest = w.log.follow({});
  w.append(fact("s"));
  ASSERT_TRUE(w.l.run(w.log.close()));
  EXPECT_EQ(waiting.get().value(), ids{1});
  EXPECT_EQ(w.l.run(read_ids(with_rest, 10, {})).value(), ids{1});
  EXPECT_EQ(w.l.run(read_ids(w.log.follow({}), 10, {})).value(), ids{});
}

// Reads with a deadline each time, so that most reads are cancelled while they wait.
task<ids> read_impatiently(source s, std::size_t count) {
  using namespace asio::experimental::awaitable_operators;
  ids seen;
  while (seen.size() < count) {
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::microseconds(200));
    auto outcome = co_await (s->next() || timer.async_wait(asio::use_awaitable));
    if (outcome.index() != 0) continue;
    auto item = std::get<0>(std::move(outcome));
    if (!item) co_return item.error();
    if (!*item) break;
    seen.push_back(std::stoull((*item)->id));
  }
  co_return seen;
}

TEST(follow, a_cancelled_wait_loses_nothing) {
  world w;
  auto reading = asio::co_spawn(w.l.executor(), read_impatiently(w.log.follow({}), 200), asio::use_future);
  for (int i = 0; i < 200; ++i) {
    w.log.publish(fact("s"));
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  auto seen = reading.get();
  ASSERT_TRUE(seen) << describe(seen.error());
  EXPECT_EQ(*seen, range(1, 200));
}

TEST(follow, a_dropped_follower_is_forgotten) {
  world w;
  auto s = w.log.follow({});
  EXPECT_EQ(w.log.stats().followers, 1u);
  s.reset();
  EXPECT_EQ(w.log.stats().followers, 0u);
  w.append(fact("s"));
}

}  // namespace
}  // namespace caged::testing
