#include <caged/storage_support.hpp>
#include <limits>

namespace caged {
namespace {

constexpr std::size_t max_name = 1024;
constexpr std::size_t max_limit = 10000;
constexpr std::size_t max_types = 64;
constexpr std::size_t group_batches = 1024;  // how many commits share one transaction at most
constexpr std::size_t group_items = 20000;   // and how many writes and events they hold together
constexpr std::size_t queue_limit = 100000;  // commits that may wait; each belongs to a suspended caller

error bad_name(const char* what, const std::string& value) {
  return fail(
      errc::invalid_argument, "invalid_name",
      std::string("the ") + what + " is " + (value.empty() ? "empty" : std::to_string(value.size()) + " bytes long"),
      "Names have 1 to 1024 bytes.");
}

std::string record_name(const write& w) { return w.kind + " \"" + w.id + "\""; }

bool is_hash(const std::string& hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

result<void> check_batch(const batch& b) {
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  for (const auto& w : b.writes) {
    if (w.kind.empty() || w.kind.size() > max_name) return bad_name("kind of a record", w.kind);
    if (w.id.empty() || w.id.size() > max_name) return bad_name("id of a record", w.id);
    if (w.what == write::op::unset)
      return fail(errc::invalid_argument, "invalid_write", "the write of " + record_name(w) + " has no operation",
                  "Use put, erase or cut.");
    if (w.what == write::op::cut && !w.body.is_number_unsigned())
      return fail(errc::invalid_argument, "invalid_write", "the cut of " + record_name(w) + " names no event's number",
                  "Put the number of the last event to drop into `body`.");
    if (w.expect_version && *w.expect_version > largest)
      return fail(errc::conflict, "version_conflict", record_name(w) + " cannot have that version",
                  "Read the record again.");
  }
  for (const auto& e : b.events) {
    if (e.session_id.empty() || e.session_id.size() > max_name) return bad_name("session id of an event", e.session_id);
    if (e.sandbox_id.size() > max_name) return bad_name("sandbox id of an event", e.sandbox_id);
    if (e.type.empty() || e.type.size() > max_name) return bad_name("type of an event", e.type);
    if (e.id == 0 || e.id > largest || e.sequence == 0 || e.sequence > largest || !is_hash(e.hash))
      return fail(errc::invalid_argument, "incomplete_event",
                  "an event of type " + e.type + " lacks its id, sequence or hash",
                  "Append events through the journal, which assigns them.");
  }
  return {};
}

result<void> check_list_limit(std::size_t limit) {
  if (limit >= 1 && limit <= max_limit) return {};
  return fail(errc::invalid_argument, "invalid_limit", "the limit is " + std::to_string(limit), "Use 1 to 10000.",
              "/limit");
}

result<void> check_query(const event_query& q) {
  if (q.types.size() > max_types)
    return fail(errc::invalid_argument, "too_many_types", std::to_string(q.types.size()) + " event types are asked for",
                "Name at most 64.", "/types");
  return check_list_limit(q.limit);
}

error version_conflict(const write& w, std::optional<std::uint64_t> found) {
  const std::string expected = *w.expect_version == 0 ? "none" : "version " + std::to_string(*w.expect_version);
  return fail(errc::conflict, "version_conflict",
              record_name(w) + (found ? " has version " + std::to_string(*found) : std::string(" does not exist")) +
                  "; expected was " + expected,
              "Read the record again and repeat the change.");
}

error event_out_of_order(const event& e, std::uint64_t last_id, std::uint64_t last_sequence) {
  return fail(errc::conflict, "event_out_of_order",
              "event " + std::to_string(e.id) + " (number " + std::to_string(e.sequence) + " of session " +
                  e.session_id + ") does not follow event " + std::to_string(last_id) + " (number " +
                  std::to_string(last_sequence) + ")",
              "Append events through one journal.");
}

error storage_closed() {
  return fail(errc::unavailable, "storage_closed", "the storage is not open",
              "Start the server, or wait until it has started.");
}

commit_queue::commit_queue(std::unique_ptr<commit_worker> worker) : worker_(std::move(worker)) {}

commit_queue::~commit_queue() {
  stop([](result<void>) {});
  if (thread_.joinable()) thread_.join();
}

void commit_queue::start(callback<void> done) {
  std::lock_guard lock(mutex_);
  if (phase_ != phase::idle) return done(storage_closed());
  phase_ = phase::running;
  thread_ = std::thread(&commit_queue::run, this, std::move(done));
}

void commit_queue::submit(batch b, callback<void> done) {
  if (auto r = check_batch(b); !r) return done(std::move(r));
  std::unique_lock lock(mutex_);
  if (phase_ != phase::running) {
    lock.unlock();
    return done(storage_closed());
  }
  if (queue_.size() >= queue_limit) {
    lock.unlock();
    return done(fail(errc::unavailable, "storage_overloaded",
                     std::to_string(queue_limit) + " commits wait for the disk", "Try again in a moment."));
  }
  queue_.push_back({std::move(b), std::move(done)});
  if (queue_.size() == 1) wake_.notify_one();
}

void commit_queue::stop(callback<void> done) {
  std::unique_lock lock(mutex_);
  if (phase_ == phase::idle || phase_ == phase::ended) {
    phase_ = phase::ended;
    lock.unlock();
    return done({});
  }
  phase_ = phase::stopping;
  stopped_.push_back(std::move(done));
  wake_.notify_one();
}

std::vector<pending_commit> commit_queue::take() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return !queue_.empty() || phase_ == phase::stopping; });
  std::vector<pending_commit> group;
  std::size_t items = 0;
  while (!queue_.empty() && group.size() < group_batches && items < group_items) {
    items += queue_.front().work.events.size() + queue_.front().work.writes.size();
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return group;
}

void commit_queue::run(callback<void> opened) {
  const result<void> answer = worker_->open();
  opened(answer);
  while (true) {
    auto group = take();
    if (group.empty()) break;
    if (answer)
      worker_->commit(group);
    else
      for (auto& p : group) p.done(answer);
  }
  if (answer) worker_->close();
  worker_.reset();  // whoever comes next may have the database
  std::vector<callback<void>> waiting;
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::ended;
    waiting.swap(stopped_);
  }
  for (auto& done : waiting) done({});
}

task<void> commit_through(commit_queue& queue, batch b) {
  auto held = std::make_shared<batch>(std::move(b));  // std::function needs what it holds to be copyable
  std::function<void(callback<void>)> start = [&queue, held](callback<void> done) {
    queue.submit(std::move(*held), std::move(done));
  };
  co_return co_await await_callback<void>(std::move(start));
}

}  // namespace caged
