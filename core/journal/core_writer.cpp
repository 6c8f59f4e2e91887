// The writer of the journal: what waits at the same time is stored in one commit; one commit is under way at a time, so
// a failed one leaves nothing behind that later events could refer to.
#include "core/base/log.hpp"
#include "core/journal/canonical.hpp"
#include "core/journal/core.hpp"

namespace caged::journal {
namespace {

constexpr std::size_t group_items = 1024;
constexpr std::size_t group_events = 4096;
constexpr std::size_t group_bytes = 8u << 20;
constexpr std::size_t cached_heads = 20000;

// Failures that one append may cause for its neighbours in the same commit.
bool concerns_one(const error& e) {
  return e.code == errc::conflict || e.code == errc::invalid_argument || e.code == errc::too_large ||
         e.code == errc::insufficient_storage;
}

error too_large(const event& e, std::size_t found, std::size_t limit) {
  return fail(errc::too_large, "event_too_large",
              "an event of type " + e.type + " has " + std::to_string(found) + " bytes; at most " +
                  std::to_string(limit) + " fit",
              "Keep large content in a file and name it in the event.");
}

}  // namespace

asio::awaitable<void> journal::core::drain(std::shared_ptr<core> self) {
  while (true) {
    group g = self->take();
    if (g.empty()) break;
    co_await self->write_group(std::move(g));
  }
}

journal::core::group journal::core::take() {
  std::vector<callback<void>> idle;
  group g;
  {
    std::lock_guard lock(mutex_);
    if (!queue_.empty() || notes_due_) add_drop_notes(g);
    notes_due_ = false;
    std::size_t events = 0, bytes = 0;
    while (!queue_.empty() && g.size() < group_items && events < group_events && bytes < group_bytes) {
      auto& front = queue_.front();
      events += front.events.size();
      bytes += front.bytes;
      if (front.what == item::kind::published) {
        queued_events_ -= front.events.size();
        queued_bytes_ -= front.bytes;
      }
      g.push_back(std::move(front));
      queue_.pop_front();
    }
    if (g.empty()) {
      draining_ = false;
      idle.swap(idle_waiters_);
    }
  }
  for (auto& done : idle) done({});
  return g;
}

void journal::core::add_drop_notes(group& g) {
  for (auto& [where, d] : drops_) {
    item note;
    note.what = item::kind::drop_note;
    auto& e = note.events.emplace_back();
    e.sandbox_id = where.first;
    e.session_id = where.second;
    e.type = "error";
    e.data["reason"] = "events_dropped";
    e.data["count"] = d.count;
    e.data["cause"] = d.cause;
    place(e);
    g.push_back(std::move(note));
  }
  drops_.clear();
}

asio::awaitable<void> journal::core::write_group(group g) {
  auto done = co_await write(g);
  if (!done && g.size() > 1 && concerns_one(done.error())) {
    std::size_t failed = 0;
    for (auto& i : g) {
      // A disk that stays full is not asked a thousand times.
      if (failed < 4 || done.error().code != errc::insufficient_storage) {
        i.refused.reset();
        done = co_await write(std::span(&i, 1));
        failed = done ? 0 : failed + 1;
      }
      if (done)
        finish(i);
      else
        fail_item(i, done.error());
    }
    co_return;
  }
  for (auto& i : g) {
    if (done)
      finish(i);
    else
      fail_item(i, done.error());
  }
}

task<void> journal::core::write(std::span<item> items) {
  error failure;
  try {
    if (auto loaded = co_await load_heads(items); !loaded) co_return loaded.error();
    batch b = stamp(items);
    if (b.events.empty() && b.writes.empty()) co_return result<void>{};
    auto done = co_await storage_.commit(std::move(b));
    if (done) co_return result<void>{};
    failure = done.error();
  } catch (const std::exception& e) {
    failure = fail(errc::internal, "journal_failure", std::string("the journal could not write: ") + e.what(),
                   "Please report this.");
  }
  forget();
  co_return failure;
}

// After a failure nothing is known for sure: the commit may have been undone, or stored and its answer lost.
void journal::core::forget() {
  last_id_.reset();
  heads_.clear();
}

task<void> journal::core::load_heads(std::span<item> items) {
  if (heads_.size() > cached_heads) heads_.clear();
  if (!last_id_) {
    auto last = co_await storage_.last_event_id();
    if (!last) co_return last.error();
    last_id_ = *last;
  }
  for (auto& i : items) {
    for (auto& e : i.events) {
      if (heads_.contains(e.session_id)) continue;
      auto head = co_await storage_.head(e.session_id);
      if (!head) co_return head.error();
      if (head->sequence == 0) head->hash = genesis_hash;
      heads_[e.session_id] = std::move(*head);
    }
  }
  co_return result<void>{};
}

batch journal::core::stamp(std::span<item> items) {
  batch b;
  for (auto& i : items) {
    if (!stamp_one(i)) continue;
    b.events.insert(b.events.end(), i.events.begin(), i.events.end());
    b.writes.insert(b.writes.end(), i.writes.begin(), i.writes.end());
  }
  return b;
}

// The one place where an event becomes what is stored: redacted, placed, linked. False when the item is refused, and
// then the chains stand as before.
bool journal::core::stamp_one(item& i) {
  const auto first_id = *last_id_;
  std::vector<std::pair<std::string, chain_head>> before;
  for (auto& e : i.events) {
    normalise(e.data);
    secrets_.clean(e.data);
    auto& head = heads_[e.session_id];
    if (i.done) before.emplace_back(e.session_id, head);
    e.id = *last_id_ + 1;
    e.sequence = head.sequence + 1;
    std::string text = canonical_text(e, head.hash);
    if (text.size() > options_.event_bytes) {
      if (i.done) {
        i.refused = too_large(e, text.size(), options_.event_bytes);
        last_id_ = first_id;
        for (auto undo = before.rbegin(); undo != before.rend(); ++undo) heads_[undo->first] = undo->second;
        return false;
      }
      // Nobody waits for an answer: keep the fact, say that its content is missing.
      const std::size_t bytes = text.size();
      e.data = json::object();
      e.data["truncated"] = true;
      e.data["bytes"] = bytes;
      text = canonical_text(e, head.hash);
    }
    e.hash = hash_text(text);
    head.sequence = e.sequence;
    head.hash = e.hash;
    last_id_ = e.id;
  }
  return true;
}

void journal::core::finish(item& i) {
  if (i.refused) return fail_item(i, *i.refused);
  std::vector<std::shared_ptr<follower>> listening;
  {
    std::lock_guard lock(mutex_);
    if (!i.events.empty()) committed_ = i.events.back().id;
    stored_ += i.events.size();
    for (const auto& weak : followers_) {
      if (auto f = weak.lock()) listening.push_back(std::move(f));
    }
  }
  if (!listening.empty()) {
    for (auto& e : i.events) {
      auto shared = std::make_shared<sized_event>();
      shared->bytes = sizeof(sized_event) + approximate_size(e.data);
      shared->value = e;
      for (auto& f : listening) f->offer(shared);
    }
  }
  if (i.done) i.done(std::move(i.events));
}

void journal::core::fail_item(item& i, const error& e) {
  if (i.done) return i.done(e);
  base::log(log_level::error, "journal",
            std::to_string(i.events.size()) + " events could not be stored: " + describe(e));
  std::lock_guard lock(mutex_);
  for (const auto& lost : i.events) {
    // A note that could not be stored stands for the events that it tells about.
    const bool note = i.what == item::kind::drop_note;
    drop(lost, note ? lost.data.value("count", std::uint64_t{1}) : 1,
         note ? lost.data.value("cause", std::string()) : e.reason);
    if (note) lost_ -= lost.data.value("count", std::uint64_t{1});
  }
}

}  // namespace caged::journal
