#include "sqlite_storage.hpp"

#include "database.hpp"
#include "errors.hpp"

namespace caged::storage_sqlite {

sqlite_storage::sqlite_storage(settings s)
    : settings_(s), writer_(s), pool_(std::max<std::size_t>(1, std::min<std::size_t>(s.readers, 16))) {}

sqlite_storage::~sqlite_storage() { pool_.join(); }

task<void> sqlite_storage::open() {
  std::function<void(callback<void>)> start = [this](callback<void> done) { writer_.start(std::move(done)); };
  auto opened = co_await await_callback<void>(std::move(start));
  if (opened) {
    std::lock_guard lock(mutex_);
    phase_ = phase::open;
  }
  co_return opened;
}

task<void> sqlite_storage::close() {
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::closed;
    idle_.clear();  // first: the last connection to close cleans up the log, and that is the writer's
  }
  std::function<void(callback<void>)> stop = [this](callback<void> done) { writer_.stop(std::move(done)); };
  co_return co_await await_callback<void>(std::move(stop));
}

task<void> sqlite_storage::commit(batch b) {
  auto held = std::make_shared<batch>(std::move(b));  // std::function needs what it holds to be copyable
  std::function<void(callback<void>)> start = [this, held](callback<void> done) {
    writer_.submit(std::move(*held), std::move(done));
  };
  co_return co_await await_callback<void>(std::move(start));
}

result<std::unique_ptr<reader>> sqlite_storage::borrow() {
  {
    std::lock_guard lock(mutex_);
    if (phase_ != phase::open)
      return fail(errc::unavailable, "storage_closed", "the storage is not open",
                  "Start the server, or wait until it has started.");
    if (!idle_.empty()) {
      auto r = std::move(idle_.back());
      idle_.pop_back();
      return r;
    }
  }
  auto db = open_reader(settings_);
  if (!db) return db.error();
  return std::make_unique<reader>(std::move(*db));
}

void sqlite_storage::give_back(std::unique_ptr<reader> r) {
  std::lock_guard lock(mutex_);
  if (phase_ == phase::open) idle_.push_back(std::move(r));
}

template <class T>
task<T> sqlite_storage::read(std::function<T(reader&)> work) {
  std::function<void(callback<T>)> start = [this, work = std::move(work)](callback<T> done) {
    asio::post(pool_, [this, work, done = std::move(done)]() {
      auto connection = borrow();
      if (!connection) return done(connection.error());
      result<T> answer = error{};
      try {
        answer = work(**connection);
      } catch (...) {
        answer = current_exception_error(settings_.file, (*connection)->handle());
      }
      give_back(std::move(*connection));
      done(std::move(answer));
    });
  };
  co_return co_await await_callback<T>(std::move(start));
}

task<std::optional<record>> sqlite_storage::get(std::string kind, std::string id) {
  std::function<std::optional<record>(reader&)> work = [kind, id](reader& r) { return r.get(kind, id); };
  return read<std::optional<record>>(std::move(work));
}

task<std::vector<record>> sqlite_storage::list(std::string kind, std::string after_id, std::size_t limit) {
  if (auto r = check_limit(limit); !r) co_return r.error();
  std::function<std::vector<record>(reader&)> work = [kind, after_id, limit](reader& r) {
    return r.list(kind, after_id, limit);
  };
  co_return co_await read<std::vector<record>>(std::move(work));
}

task<std::vector<event>> sqlite_storage::events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::vector<event>(reader&)> work = [q](reader& r) { return r.events(q); };
  co_return co_await read<std::vector<event>>(std::move(work));
}

task<std::uint64_t> sqlite_storage::count_events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::uint64_t(reader&)> work = [q](reader& r) { return r.count_events(q); };
  co_return co_await read<std::uint64_t>(std::move(work));
}

task<std::uint64_t> sqlite_storage::last_event_id() {
  std::function<std::uint64_t(reader&)> work = [](reader& r) { return r.last_event_id(); };
  return read<std::uint64_t>(std::move(work));
}

task<chain_head> sqlite_storage::head(std::string session_id) {
  std::function<chain_head(reader&)> work = [session_id](reader& r) { return r.head(session_id); };
  return read<chain_head>(std::move(work));
}

}  // namespace caged::storage_sqlite
