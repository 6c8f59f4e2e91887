#include "sqlite_storage.hpp"

#include "database.hpp"
#include "errors.hpp"
#include "worker.hpp"

namespace caged::storage_sqlite {
namespace {

result<std::unique_ptr<reader>> make_reader(const settings& s) {
  auto db = open_reader(s);
  if (!db) return db.error();
  return std::make_unique<reader>(std::move(*db));
}

}  // namespace

sqlite_storage::sqlite_storage(settings s)
    : settings_(s),
      commits_(make_worker(s)),
      readers_(
          s.readers, [s] { return make_reader(s); },
          [s](reader& r) {
            return reader_pool<reader>::failure{current_exception_error(s.file, r.handle()), true};
          }) {}

task<void> sqlite_storage::open() {
  std::function<void(callback<void>)> start = [this](callback<void> done) { commits_.start(std::move(done)); };
  auto opened = co_await await_callback<void>(std::move(start));
  if (opened) readers_.open();
  co_return opened;
}

task<void> sqlite_storage::close() {
  readers_.close();  // first: the last connection to close cleans up the log, and that is the writer's
  std::function<void(callback<void>)> stop = [this](callback<void> done) { commits_.stop(std::move(done)); };
  co_return co_await await_callback<void>(std::move(stop));
}

task<void> sqlite_storage::commit(batch b) { return commit_through(commits_, std::move(b)); }

task<std::optional<record>> sqlite_storage::get(std::string kind, std::string id) {
  std::function<std::optional<record>(reader&)> work = [kind, id](reader& r) { return r.get(kind, id); };
  return readers_.read<std::optional<record>>(std::move(work));
}

task<std::vector<record>> sqlite_storage::list(std::string kind, std::string after_id, std::size_t limit) {
  if (auto r = check_list_limit(limit); !r) co_return r.error();
  std::function<std::vector<record>(reader&)> work = [kind, after_id, limit](reader& r) {
    return r.list(kind, after_id, limit);
  };
  co_return co_await readers_.read<std::vector<record>>(std::move(work));
}

task<std::vector<event>> sqlite_storage::events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::vector<event>(reader&)> work = [q](reader& r) { return r.events(q); };
  co_return co_await readers_.read<std::vector<event>>(std::move(work));
}

task<std::uint64_t> sqlite_storage::count_events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::uint64_t(reader&)> work = [q](reader& r) { return r.count_events(q); };
  co_return co_await readers_.read<std::uint64_t>(std::move(work));
}

task<std::uint64_t> sqlite_storage::last_event_id() {
  std::function<std::uint64_t(reader&)> work = [](reader& r) { return r.last_event_id(); };
  return readers_.read<std::uint64_t>(std::move(work));
}

task<chain_head> sqlite_storage::head(std::string session_id) {
  std::function<chain_head(reader&)> work = [session_id](reader& r) { return r.head(session_id); };
  return readers_.read<chain_head>(std::move(work));
}

}  // namespace caged::storage_sqlite
