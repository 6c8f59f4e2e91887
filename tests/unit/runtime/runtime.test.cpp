#include <gtest/gtest.h>

#include <boost/asio/use_future.hpp>

#include "core/runtime/async_mutex.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/loop.hpp"
#include "core/runtime/scope.hpp"
#include "tests/unit/runtime/run.hpp"

namespace caged::runtime {
namespace {

using namespace std::chrono_literals;
using caged::testing::run;

asio::awaitable<void> sleep_then(std::chrono::milliseconds time, int* count) {
  co_await sleep_for(time);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() == asio::cancellation_type::none) ++*count;
}

asio::awaitable<void> throw_soon() {
  co_await sleep_for(1ms);
  throw std::runtime_error("broken");
}

asio::awaitable<void> join(scope* s) { co_await s->join(); }

TEST(Scope, JoinWaitsForEverythingSpawned) {
  asio::io_context context;
  scope s(context.get_executor(), nullptr);
  int done = 0;
  for (int i = 0; i < 10; ++i) s.spawn("sleeper", sleep_then(std::chrono::milliseconds(i), &done));
  run(context, join(&s));
  EXPECT_EQ(done, 10);
  EXPECT_EQ(s.running(), 0u);
}

TEST(Scope, CancelEndsEverythingAndRefusesMore) {
  asio::io_context context;
  scope s(context.get_executor(), nullptr);
  int done = 0;
  for (int i = 0; i < 10; ++i) s.spawn("sleeper", sleep_then(1h, &done));
  asio::post(context, [&s] { s.cancel(); });
  const auto start = std::chrono::steady_clock::now();
  run(context, join(&s));
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  s.spawn("late", sleep_then(0ms, &done));
  context.restart();
  context.run();
  EXPECT_EQ(done, 0);
}

TEST(Scope, TellsOfAnExceptionByName) {
  asio::io_context context;
  std::string told;
  scope s(context.get_executor(), [&told](std::string_view name, std::string_view what) {
    told = std::string(name) + ": " + std::string(what);
  });
  s.spawn("thrower", throw_soon());
  run(context, join(&s));
  EXPECT_EQ(told, "thrower: broken");
}

asio::awaitable<void> hold(async_mutex* m, std::vector<int>* order, int me) {
  auto guard = co_await m->lock();
  order->push_back(me);
  co_await sleep_for(1ms);
  order->push_back(me);
}

TEST(AsyncMutex, LetsOneInAtATimeInOrder) {
  asio::io_context context;
  async_mutex m;
  std::vector<int> order;
  scope s(context.get_executor(), nullptr);
  for (int i = 0; i < 5; ++i) s.spawn("holder", hold(&m, &order, i));
  run(context, join(&s));
  EXPECT_EQ(order, (std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}));
}

TEST(AsyncMutex, ACancelledWaiterLeavesTheQueue) {
  asio::io_context context;
  async_mutex m;
  std::vector<int> order;
  scope keep(context.get_executor(), nullptr), drop(context.get_executor(), nullptr);
  keep.spawn("first", hold(&m, &order, 1));
  drop.spawn("cancelled", hold(&m, &order, 2));
  keep.spawn("third", hold(&m, &order, 3));
  asio::post(context, [&drop] { drop.cancel(); });
  run(context, join(&keep));
  run(context, join(&drop));
  EXPECT_EQ(order, (std::vector<int>{1, 1, 3, 3}));
}

task<int> slow(std::chrono::milliseconds time) {
  co_await sleep_for(time);
  co_return 7;
}

asio::awaitable<result<int>> limited(std::chrono::milliseconds limit, std::chrono::milliseconds time) {
  auto work = slow(time);
  co_return co_await within<int>(limit, "the slow one", std::move(work));
}

TEST(Deadline, PassesTheValueThrough) {
  asio::io_context context;
  auto outcome = run(context, limited(5s, 1ms));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, 7);
}

TEST(Deadline, SaysWhatWasTooSlow) {
  asio::io_context context;
  auto outcome = run(context, limited(10ms, 1h));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, errc::deadline_exceeded);
  EXPECT_EQ(outcome.error().message, "the slow one did not finish within 10 ms");
}

asio::awaitable<std::pair<std::thread::id, std::thread::id>> hop(asio::any_io_executor pool) {
  const auto there = co_await on_pool(pool, [] { return std::this_thread::get_id(); });
  co_return std::pair(there, std::this_thread::get_id());
}

TEST(Loop, BlockingWorkRunsElsewhereAndComesBack) {
  loop l(2);
  l.start();
  auto where = asio::co_spawn(l.executor(), hop(l.blocking()), asio::use_future).get();
  EXPECT_NE(where.first, where.second);
  EXPECT_NE(where.second, std::this_thread::get_id());
  l.stop();
}

}  // namespace
}  // namespace caged::runtime
