// A journal over a real storage in a folder of its own, and a storage that can be made to fail.
#pragma once

#include "core/journal/journal.hpp"
#include "tests/unit/storage/world.hpp"

namespace caged::testing {

inline event fact(std::string session, std::string type = "command", json data = json::object()) {
  event e;
  e.session_id = std::move(session);
  e.type = std::move(type);
  e.data = std::move(data);
  return e;
}

inline std::vector<event> facts(event e) {
  std::vector<event> v;
  v.push_back(std::move(e));
  return v;
}

inline std::vector<write> writes(write w) {
  std::vector<write> v;
  v.push_back(std::move(w));
  return v;
}

// SQLite, with a switch: fails the next commits, or holds them back.
class moody_storage : public storage_sqlite::sqlite_storage {
 public:
  using sqlite_storage::sqlite_storage;
  task<void> commit(batch b) override {
    ++commits;
    while (held) {
      asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
      co_await timer.async_wait(use_tuple);
    }
    if (failures > 0) {
      --failures;
      co_return fail(failure, "made_up", "a made-up failure", "Nothing.");
    }
    co_return co_await sqlite_storage::commit(std::move(b));
  }
  std::atomic<int> failures{0}, commits{0};
  std::atomic<errc> failure{errc::insufficient_storage};
  std::atomic<bool> held{false};
};

class world {
 public:
  explicit world(std::size_t threads = 1, journal::options o = {})
      : l(threads), store(settings_in(dir.path())), log(l.executor(), store, o) {
    start = l.run(store.open());
    if (start) start = l.run(log.open());
  }
  ~world() {
    store.held = false;
    (void)l.run(log.close());
    (void)l.run(store.close());
    l.finish();
  }

  std::vector<event> append(event e) { return l.run(log.append(facts(std::move(e)))).value(); }
  std::vector<event> stored(std::string session = {}) {
    event_query q;
    q.session_id = std::move(session);
    q.limit = 10000;
    return l.run(log.read(std::move(q))).value();
  }
  journal::verification verified(std::string session) { return l.run(log.verify(std::move(session))).value(); }

  folder dir;
  loop l;
  moody_storage store;
  journal::journal log;
  result<void> start;
};

}  // namespace caged::testing
