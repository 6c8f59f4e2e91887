// One reader of the journal: storage first, then live, back to storage when it is slow.
#pragma once

#include <deque>
#include <memory>
#include <mutex>

#include "core/journal/journal.hpp"
#include "core/journal/wake.hpp"

namespace caged::journal {

// An event in memory, shared by all followers, with its approximate size.
struct sized_event {
  event value;
  std::size_t bytes = 0;
};

// About how much memory a value takes.
std::size_t approximate_size(const json& value);

class follower : public item_source, public event_reader {
 public:
  // What a follower needs of the journal.
  class source {
   public:
    virtual ~source() = default;
    virtual std::uint64_t committed() const = 0;  // every event up to this id is stored
    virtual task<std::vector<event>> page(event_query q) = 0;
  };

  follower(std::shared_ptr<source> s, follow_query q, options o, std::uint64_t now);

  task<std::optional<stream_item>> next() override;
  task<std::optional<event>> next_event() override;

  // For the journal, in the order of ids, after the event was stored. Never waits.
  void offer(const std::shared_ptr<const sized_event>& e);
  void end();

 private:
  bool matches(const event& e) const;
  std::optional<event> take();
  bool begin_replay();
  task<void> read_page();

  const std::shared_ptr<source> source_;
  const follow_query query_;
  const options options_;
  wake wake_;
  std::deque<event> page_;       // of the replay; touched by next() only, as is position_
  std::uint64_t position_ = 0;   // everything up to here was delivered or does not match

  std::mutex mutex_;
  std::deque<std::shared_ptr<const sized_event>> live_;
  std::size_t live_bytes_ = 0;
  std::uint64_t floor_ = 0;      // the replay delivers up to here, live_ what is after it
  enum class phase : std::uint8_t { behind = 1, replaying, live, ended } phase_;
  bool overflowed_ = false;
};

}  // namespace caged::journal
