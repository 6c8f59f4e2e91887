// SIGKILL at random moments: nothing acknowledged is lost, nothing half-written is left, the chains hold.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdlib>
#include <map>
#include <random>

#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

constexpr int session_count = 3;

// What the child says of each commit that was acknowledged; one write(2) each, so never torn.
struct acknowledged {
  std::uint32_t record;
  std::uint32_t event;
};

task<void> write_forever(journal::journal* log, int out, std::uint32_t first, std::uint32_t step) {
  for (std::uint32_t n = first;; n += step) {
    const std::string name = std::to_string(n);
    auto events = facts(fact("s" + std::to_string(n % session_count), "command", std::string(n % 300, 'x')));
    auto changes = writes(one_record(name, n).writes.front());
    auto done = co_await log->append(std::move(events), std::move(changes));
    if (!done) ::_exit(3);
    acknowledged a{n, static_cast<std::uint32_t>(done->front().id)};
    if (::write(out, &a, sizeof a) != sizeof a) ::_exit(4);
  }
}

[[noreturn]] void child(const std::filesystem::path& dir, int out, std::uint32_t first) {
  asio::io_context io;
  storage_sqlite::sqlite_storage store(settings_in(dir));
  journal::journal log(io.get_executor(), store);
  constexpr std::uint32_t writers = 8;
  asio::co_spawn(
      io,
      [](storage* s, journal::journal* l, int o, std::uint32_t f) -> task<void> {
        auto opened = co_await s->open();
        if (opened) opened = co_await l->open();
        if (!opened) ::_exit(2);
        for (std::uint32_t i = 0; i < writers; ++i)
          asio::co_spawn(co_await asio::this_coro::executor, write_forever(l, o, f + i, writers), asio::detached);
        co_return result<void>{};
      }(&store, &log, out, first),
      asio::detached);
  io.run();
  ::_exit(5);
}

TEST(crash, nothing_acknowledged_is_lost) {
  const char* chosen = std::getenv("CAGED_TEST_KILL_ROUNDS");
  const int rounds = chosen != nullptr ? std::atoi(chosen) : 30;
  folder dir;
  std::mt19937 random(std::random_device{}());
  std::map<std::uint32_t, std::uint32_t> known;  // record → event, over all rounds
  std::uint32_t next = 0;
  for (int round = 0; round < rounds; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    const pid_t pid = ::fork();
    if (pid == 0) child(dir.path(), pipe[1], next);
    ::close(pipe[1]);
    // Some die while they open, most while they write.
    const auto life = round % 10 == 0 ? random() % 5000 : 10000 + random() % 60000;
    std::this_thread::sleep_for(std::chrono::microseconds(life));
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, status " << status;
    for (acknowledged a; ::read(pipe[0], &a, sizeof a) == sizeof a;) {
      known[a.record] = a.event;
      next = std::max(next, a.record + 100);
    }
    ::close(pipe[0]);
    next += 100;  // also past what was stored and not acknowledged: each record is written once
    if (round % 5 != 4 && round != rounds - 1) continue;

    loop l;
    opened_storage o(l, settings_in(dir.path()));
    ASSERT_TRUE(o.opened) << describe(o.opened.error());
    journal::journal log(l.executor(), *o.store);
    ASSERT_TRUE(l.run(log.open()));
    std::map<std::uint64_t, std::string> stored;
    for (event_query q; true;) {
      q.limit = 10000;
      auto page = l.run(o.store->events(q)).value();
      for (const auto& e : page) stored[e.id] = e.session_id;
      if (page.size() < q.limit) break;
      q.after_id = page.back().id;
    }
    std::size_t records = 0;
    for (std::string after; true;) {
      auto page = l.run(o.store->list("k", after, 10000)).value();
      records += page.size();
      if (page.size() < 10000) break;
      after = page.back().id;
    }
    EXPECT_EQ(records, stored.size()) << "a record without its event, or the other way round";
    for (const auto& [record, event] : known) {
      ASSERT_TRUE(stored.contains(event)) << "acknowledged event " << event << " is lost";
      ASSERT_TRUE(l.run(o.store->get("k", std::to_string(record))).value())
          << "acknowledged record " << record << " is lost";
    }
    std::uint64_t linked = 0;
    for (int s = 0; s < session_count; ++s) {
      const auto v = l.run(log.verify("s" + std::to_string(s))).value();
      ASSERT_FALSE(v.broken) << v.broken->what;
      linked += v.events;
    }
    EXPECT_EQ(linked, stored.size());
    ASSERT_TRUE(l.run(log.close()));
  }
  EXPECT_GT(known.size(), static_cast<std::size_t>(rounds)) << "the children hardly wrote anything";
  std::printf("%d kills, %zu acknowledged commits, none lost\n", rounds, known.size());
}

}  // namespace
}  // namespace caged::testing
