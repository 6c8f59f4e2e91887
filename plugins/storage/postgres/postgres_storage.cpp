#include "postgres_storage.hpp"

#include "worker.hpp"

namespace caged::storage_postgres {
namespace {

result<std::unique_ptr<reader>> make_reader(const settings& s) {
  try {
    return std::make_unique<reader>(connect(s));
  } catch (...) {
    return current_exception_error();
  }
}

}  // namespace

postgres_storage::postgres_storage(settings s)
    : commits_(make_worker(s)),
      readers_(
          s.readers, [s] { return make_reader(s); },
          [](reader&) {
            return reader_pool<reader>::failure{current_exception_error(), !current_exception_is_loss()};
          }) {}

task<void> postgres_storage::open() {
  std::function<void(callback<void>)> start = [this](callback<void> done) { commits_.start(std::move(done)); };
  auto opened = co_await await_callback<void>(std::move(start));
  if (opened) readers_.open();
  co_return opened;
}

task<void> postgres_storage::close() {
  readers_.close();
  std::function<void(callback<void>)> stop = [this](callback<void> done) { commits_.stop(std::move(done)); };
  co_return co_await await_callback<void>(std::move(stop));
}

task<void> postgres_storage::commit(batch b) { return commit_through(commits_, std::move(b)); }

task<std::optional<record>> postgres_storage::get(std::string kind, std::string id) {
  std::function<std::optional<record>(reader&)> work = [kind, id](reader& r) { return r.get(kind, id); };
  return readers_.read<std::optional<record>>(std::move(work));
}

task<std::vector<record>> postgres_storage::list(std::string kind, std::string after_id, std::size_t limit) {
  if (auto r = check_list_limit(limit); !r) co_return r.error();
  std::function<std::vector<record>(reader&)> work = [kind, after_id, limit](reader& r) {
    return r.list(kind, after_id, limit);
  };
  co_return co_await readers_.read<std::vector<record>>(std::move(work));
}

task<std::vector<event>> postgres_storage::events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::vector<event>(reader&)> work = [q](reader& r) { return r.events(q); };
  co_return co_await readers_.read<std::vector<event>>(std::move(work));
}

task<std::uint64_t> postgres_storage::count_events(event_query q) {
  if (auto r = check_query(q); !r) co_return r.error();
  std::function<std::uint64_t(reader&)> work = [q](reader& r) { return r.count_events(q); };
  co_return co_await readers_.read<std::uint64_t>(std::move(work));
}

task<std::uint64_t> postgres_storage::last_event_id() {
  std::function<std::uint64_t(reader&)> work = [](reader& r) { return r.last_event_id(); };
  return readers_.read<std::uint64_t>(std::move(work));
}

task<chain_head> postgres_storage::head(std::string session_id) {
  std::function<chain_head(reader&)> work = [session_id](reader& r) { return r.head(session_id); };
  return readers_.read<chain_head>(std::move(work));
}

}  // namespace caged::storage_postgres
