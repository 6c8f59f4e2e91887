// The journal's inside: the queue in front of the single writer, and the writer.
#pragma once

#include <atomic>
#include <boost/asio/strand.hpp>
#include <caged/await_callback.hpp>
#include <deque>
#include <mutex>
#include <span>
#include <unordered_map>

#include "core/journal/follower.hpp"
#include "core/journal/journal.hpp"
#include "core/journal/redaction.hpp"

namespace caged::journal {

class journal::core : public follower::source, public std::enable_shared_from_this<journal::core> {
 public:
  core(asio::any_io_executor executor, storage& s, options o);

  task<void> open();
  task<void> close();
  task<std::vector<event>> append(std::vector<event> events, std::vector<caged::write> writes);
  void publish(event e);
  task<void> flush();
  std::shared_ptr<follower> follow(follow_query q);
  task<std::vector<event>> page(event_query q) override;
  std::uint64_t committed() const override { return committed_.load(); }
  void set_current_session(std::string sandbox_id, std::string session_id);
  std::string current_session(const std::string& sandbox_id) const;
  redactor& secrets() noexcept { return secrets_; }
  storage& stored() noexcept { return storage_; }
  statistics stats() const;

 private:
  // One append(), or published events that came one after the other.
  struct item {
    std::vector<event> events;
    std::vector<caged::write> writes;
    callback<std::vector<event>> done;  // empty for published events
    std::size_t bytes = 0;
    enum class kind : std::uint8_t { appended = 1, published, drop_note } what = kind::appended;
    std::optional<error> refused;       // while it is written
  };
  using group = std::vector<item>;
  struct dropped {
    std::uint64_t count = 0;
    std::string cause;
  };

  // Any thread.
  void place(event& e) const;  // session and time; the mutex is held
  void begin_drain();          // the mutex is held
  void drop(const event& e, std::uint64_t count, const std::string& cause);  // the mutex is held

  // The writer strand; one drain() at a time.
  static asio::awaitable<void> drain(std::shared_ptr<core> self);
  group take();
  void add_drop_notes(group& g);
  task<void> write(std::span<item> items);  // all of them in one commit, or none
  asio::awaitable<void> write_group(group g);
  task<void> load_heads(std::span<item> items);
  batch stamp(std::span<item> items);
  bool stamp_one(item& i);
  void forget();
  void finish(item& i);
  void fail_item(item& i, const error& e);

  const asio::strand<asio::any_io_executor> strand_;
  storage& storage_;
  const options options_;
  redactor secrets_;
  std::atomic<std::uint64_t> committed_{0};
  std::atomic<std::uint64_t> stored_{0}, lost_{0};

  mutable std::mutex mutex_;
  std::deque<item> queue_;
  std::size_t queued_events_ = 0, queued_bytes_ = 0;
  enum class phase : std::uint8_t { closed = 1, open, closing } phase_ = phase::closed;
  bool draining_ = false;
  bool notes_due_ = false;  // flush() wants drops told even when nothing else waits
  std::vector<callback<void>> idle_waiters_;
  std::unordered_map<std::string, std::string> current_;
  std::map<std::pair<std::string, std::string>, dropped> drops_;  // by sandbox and session
  std::vector<std::weak_ptr<follower>> followers_;

  // Of the writer only.
  std::optional<std::uint64_t> last_id_;
  std::unordered_map<std::string, chain_head> heads_;
};

}  // namespace caged::journal
