#include "core/journal/core.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "core/base/time.hpp"

namespace caged::journal {
namespace {

constexpr std::size_t most_drop_notes = 1000;  // sessions whose drops are told apart
constexpr std::size_t event_overhead = 256;

error not_open() {
  return fail(errc::unavailable, "journal_closed", "the journal takes no events: it is not open",
              "Start the server, or wait for its restart.");
}

}  // namespace

journal::core::core(asio::any_io_executor executor, storage& s, options o)
    : strand_(asio::make_strand(std::move(executor))), storage_(s), options_(o) {}

task<void> journal::core::open() {
  auto last = co_await storage_.last_event_id();
  if (!last) co_return last.error();
  std::lock_guard lock(mutex_);
  committed_ = *last;
  phase_ = phase::open;
  co_return result<void>{};
}

task<void> journal::core::close() {
  {
    std::lock_guard lock(mutex_);
    if (phase_ == phase::open) phase_ = phase::closing;
  }
  auto flushed = co_await flush();
  std::vector<std::weak_ptr<follower>> followers;
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::closed;
    followers.swap(followers_);
  }
  for (auto& weak : followers) {
    if (auto f = weak.lock()) f->end();
  }
  co_return flushed;
}

void journal::core::place(event& e) const {
  if (e.time_us == 0) e.time_us = base::now_us();
  if (!e.session_id.empty()) return;
  if (e.sandbox_id.empty()) {
    e.session_id = host_session;
    return;
  }
  const auto known = current_.find(e.sandbox_id);
  e.session_id = known != current_.end() ? known->second : e.sandbox_id;
}

// Spawned work is not lost: flush(), which close() awaits, completes only when it has ended.
void journal::core::begin_drain() {
  if (draining_) return;
  draining_ = true;
  // Posted: co_spawn() would begin at once when the caller runs on the strand, inside the lock.
  asio::post(strand_, [self = shared_from_this()] { asio::co_spawn(self->strand_, drain(self), asio::detached); });
}

task<std::vector<event>> journal::core::append(std::vector<event> events, std::vector<caged::write> writes) {
  auto held = std::make_shared<item>();
  held->events = std::move(events);
  held->writes = std::move(writes);
  std::function<void(callback<std::vector<event>>)> start = [self = shared_from_this(),
                                                             held](callback<std::vector<event>> done) {
    {
      std::lock_guard lock(self->mutex_);
      if (self->phase_ == phase::open) {
        for (auto& e : held->events) self->place(e);
        held->done = std::move(done);
        self->queue_.push_back(std::move(*held));
        self->begin_drain();
        return;
      }
    }
    done(not_open());
  };
  co_return co_await await_callback<std::vector<event>>(std::move(start));
}

void journal::core::publish(event e) {
  const std::size_t bytes = event_overhead + approximate_size(e.data);
  std::lock_guard lock(mutex_);
  place(e);
  if (phase_ != phase::open) return drop(e, 1, "journal_closed");
  if (queued_events_ >= options_.queue_events || queued_bytes_ + bytes > options_.queue_bytes)
    return drop(e, 1, "queue_full");
  // Neighbours share an item, so that a flood of small events costs little each.
  if (queue_.empty() || queue_.back().what != item::kind::published || queue_.back().events.size() >= 256) {
    queue_.emplace_back();
    queue_.back().what = item::kind::published;
  }
  queue_.back().events.push_back(std::move(e));
  queue_.back().bytes += bytes;
  ++queued_events_;
  queued_bytes_ += bytes;
  begin_drain();
}

void journal::core::drop(const event& e, std::uint64_t count, const std::string& cause) {
  lost_ += count;
  std::pair<std::string, std::string> where{e.sandbox_id, e.session_id};
  // Whoever can make up session names must not fill the memory with them.
  if (drops_.size() >= most_drop_notes && !drops_.contains(where)) where = {"", host_session};
  auto& d = drops_[where];
  d.count += count;
  if (d.cause.empty()) d.cause = cause;
}

task<void> journal::core::flush() {
  std::function<void(callback<void>)> start = [self = shared_from_this()](callback<void> done) {
    std::unique_lock lock(self->mutex_);
    if (self->phase_ != phase::closed && !self->drops_.empty()) self->notes_due_ = true;
    if (self->draining_ || !self->queue_.empty() || self->notes_due_) {
      self->idle_waiters_.push_back(std::move(done));
      self->begin_drain();
      return;
    }
    lock.unlock();
    done({});
  };
  co_return co_await await_callback<void>(std::move(start));
}

std::shared_ptr<follower> journal::core::follow(follow_query q) {
  std::lock_guard lock(mutex_);
  auto f = std::make_shared<follower>(shared_from_this(), std::move(q), options_, committed_.load());
  if (phase_ == phase::closed) f->end();
  std::erase_if(followers_, [](const auto& weak) { return weak.expired(); });
  followers_.push_back(f);
  return f;
}

task<std::vector<event>> journal::core::page(event_query q) { return storage_.events(std::move(q)); }

void journal::core::set_current_session(std::string sandbox_id, std::string session_id) {
  std::lock_guard lock(mutex_);
  if (session_id.empty())
    current_.erase(sandbox_id);
  else
    current_[std::move(sandbox_id)] = std::move(session_id);
}

std::string journal::core::current_session(const std::string& sandbox_id) const {
  std::lock_guard lock(mutex_);
  const auto known = current_.find(sandbox_id);
  return known == current_.end() ? "" : known->second;
}

statistics journal::core::stats() const {
  std::lock_guard lock(mutex_);
  statistics s;
  s.committed = stored_;
  s.dropped = lost_;
  s.last_id = committed_;
  for (const auto& i : queue_) s.queued += i.events.size();
  for (const auto& weak : followers_) s.followers += weak.expired() ? 0 : 1;
  return s;
}

}  // namespace caged::journal
