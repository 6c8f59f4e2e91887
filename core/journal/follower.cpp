#include "core/journal/follower.hpp"

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "core/journal/canonical.hpp"

namespace caged::journal {
namespace {

constexpr std::size_t page_size = 256;

stream_item to_item(const event& e) { return {std::to_string(e.id), e.type, to_json(e)}; }

}  // namespace

std::size_t approximate_size(const json& value) {
  constexpr std::size_t node = 32;
  if (value.is_string()) return node + value.get_ref<const std::string&>().size();
  std::size_t total = node;
  if (value.is_array()) {
    for (const auto& item : value) total += approximate_size(item);
  } else if (value.is_object()) {
    for (const auto& [name, item] : value.items()) total += node + name.size() + approximate_size(item);
  }
  return total;
}

follower::follower(std::shared_ptr<source> s, follow_query q, options o, std::uint64_t now)
    : source_(std::move(s)),
      query_(std::move(q)),
      options_(o),
      position_(query_.after_id.value_or(now)),
      floor_(now),
      phase_(position_ < now ? phase::behind : phase::live) {
  // A position beyond the end (of a restored backup, or made up) waits until the journal gets there.
  floor_ = std::max(floor_, position_);
}

bool follower::matches(const event& e) const {
  return (query_.session_id.empty() || e.session_id == query_.session_id) &&
         (query_.sandbox_id.empty() || e.sandbox_id == query_.sandbox_id) &&
         (query_.types.empty() || std::find(query_.types.begin(), query_.types.end(), e.type) != query_.types.end());
}

void follower::offer(const std::shared_ptr<const sized_event>& e) {
  {
    std::lock_guard lock(mutex_);
    if (phase_ == phase::ended || phase_ == phase::behind || overflowed_ || e->value.id <= floor_ || !matches(e->value))
      return;
    if (live_.size() >= options_.follower_events || live_bytes_ + e->bytes > options_.follower_bytes) {
      // Memory stays bounded; what is dropped here is read from storage again.
      live_.clear();
      live_bytes_ = 0;
      overflowed_ = true;
    } else {
      live_.push_back(e);
      live_bytes_ += e->bytes;
    }
  }
  wake_.notify();
}

void follower::end() {
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::ended;
  }
  wake_.notify();
}

// From here on offer() keeps what is after floor_; everything up to it is in storage.
bool follower::begin_replay() {
  std::lock_guard lock(mutex_);
  if (phase_ == phase::ended) return false;
  if (phase_ == phase::live && !overflowed_) return false;
  if (phase_ == phase::replaying) return true;
  // Asked for under the lock: whatever offer() was given and ignored so far was committed before, so the replay has it.
  const std::uint64_t committed = source_->committed();
  overflowed_ = false;
  live_.clear();
  live_bytes_ = 0;
  floor_ = std::max(position_, committed);
  phase_ = phase::replaying;
  return true;
}

std::optional<event> follower::take() {
  if (!page_.empty()) {
    event item = std::move(page_.front());
    position_ = item.id;
    page_.pop_front();
    return item;
  }
  std::lock_guard lock(mutex_);
  if (phase_ == phase::replaying || live_.empty()) return std::nullopt;
  const auto e = std::move(live_.front());
  live_.pop_front();
  live_bytes_ -= e->bytes;
  position_ = e->value.id;
  return e->value;
}

task<void> follower::read_page() {
  std::uint64_t floor = 0;
  {
    std::lock_guard lock(mutex_);
    floor = floor_;
  }
  event_query q;
  q.session_id = query_.session_id;
  q.sandbox_id = query_.sandbox_id;
  q.types = query_.types;
  q.after_id = position_;
  q.limit = page_size;
  auto page = co_await source_->page(std::move(q));
  if (!page) co_return page.error();
  const bool last = page->size() < page_size || page->back().id >= floor;
  for (auto& e : *page) {
    if (e.id <= floor) page_.push_back(std::move(e));
  }
  if (last) {
    std::lock_guard lock(mutex_);
    if (page_.empty()) position_ = std::max(position_, floor);
    if (phase_ == phase::replaying) phase_ = phase::live;
  }
  co_return result<void>{};
}

task<std::optional<stream_item>> follower::next() {
  auto taken = co_await next_event();
  if (!taken) co_return taken.error();
  if (!*taken) co_return std::optional<stream_item>();
  co_return std::optional<stream_item>(to_item(**taken));
}

task<std::optional<event>> follower::next_event() {
  while (true) {
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none)
      co_return fail(errc::cancelled, "cancelled", "the reader of the journal went away",
                     "Follow again from the last id received.");
    if (auto item = take()) co_return item;
    if (begin_replay()) {
      auto read = co_await read_page();
      if (!read) co_return read.error();
      continue;
    }
    {
      std::lock_guard lock(mutex_);
      if (phase_ == phase::ended) co_return std::nullopt;
    }
    co_await wake_.wait();
  }
}

}  // namespace caged::journal
