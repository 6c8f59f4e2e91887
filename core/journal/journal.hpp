// The append-only journal: gives each fact its place, links it to the one before, stores it, then tells who listens.
#pragma once

#include <caged/event.hpp>
#include <caged/storage.hpp>
#include <caged/streams.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace caged::journal {

// The session of facts that belong to no sandbox.
inline constexpr const char* host_session = "host";

struct options {
  std::size_t queue_events = 50000;        // published and not yet stored; beyond it publish() drops and counts
  std::size_t queue_bytes = 64u << 20;
  std::size_t event_bytes = 1u << 20;      // largest canonical text of one event
  std::size_t follower_events = 1024;      // kept in memory for one follower; beyond it the follower reads storage
  std::size_t follower_bytes = 4u << 20;
};

// Which events a follower gets; empty means any. Those after `after_id`, without it only those from now on.
struct follow_query {
  std::string session_id;
  std::string sandbox_id;
  std::vector<std::string> types;
  std::optional<std::uint64_t> after_id;
};

struct statistics {
  std::uint64_t committed = 0;  // events stored since open()
  std::uint64_t dropped = 0;    // published events that are not stored; an "error" event says so in each session
  std::uint64_t last_id = 0;
  std::size_t queued = 0;
  std::size_t followers = 0;
};

// What verify() found. No `broken` means that every link holds.
struct verification {
  struct break_point {
    std::uint64_t sequence = 0;  // of the first event that does not fit
    std::uint64_t event_id = 0;
    std::string what;
  };
  std::uint64_t events = 0;  // links that hold
  std::uint64_t dropped = 0; // events before them that retention dropped; the chain goes on from its anchor
  std::string head;          // hash of the last of them
  std::optional<break_point> broken;
};

// follow() for parts of the host: events as they are. One consumer; next_event() as item_source::next().
class event_reader {
 public:
  virtual ~event_reader() = default;
  virtual task<std::optional<event>> next_event() = 0;
};

// Every method may be called from any thread between open() and close(); coroutines go on where they were awaited.
// One event has one place: all events of a host go through one journal over one storage.
class journal : public event_sink {
 public:
  // `s` is open before open() and stays open until close() has returned.
  journal(asio::any_io_executor executor, storage& s, options o = {});
  ~journal() override;
  journal(const journal&) = delete;
  journal& operator=(const journal&) = delete;

  task<void> open();
  // Takes nothing new, stores what waits, ends all followers. Idempotent.
  task<void> close();

  // Stores the events and the writes together or not at all, then answers with the events as they stand (id, session,
  // sequence, time, hash). Order is kept per caller. Errors are the storage's (conflict when a version is not as
  // expected) and too_large; a failed append leaves no gap. Not undone by cancelling the caller.
  task<std::vector<event>> append(std::vector<event> events, std::vector<write> writes = {});

  // Returns at once. What does not fit into the queue, or cannot be stored, is counted and told by an "error" event
  // (reason "events_dropped") in the same session once storing works.
  void publish(event e) override;

  // Completes when all that was published before is stored or counted as dropped.
  task<void> flush();

  // Replays from storage, then follows live: each matching event once, in order. It never holds up the journal. Ends
  // with the journal. Items carry the event's id, its type and its JSON (to_json).
  std::shared_ptr<item_source> follow(follow_query q);
  std::shared_ptr<event_reader> read_on(follow_query q);

  // A page of stored events; see storage::events.
  task<std::vector<event>> read(event_query q);

  // Recomputes a session's chain from its first event on.
  task<verification> verify(std::string session_id);

  // Events of the sandbox that name no session belong to this one from now on; "" takes that back. Without a current
  // session they form a session named like the sandbox.
  void set_current_session(std::string sandbox_id, std::string session_id);
  std::string current_session(const std::string& sandbox_id) const;

  // The value is replaced by "[redacted]" in all events stored from now on. At least 8 bytes; registered twice, it must
  // be removed twice.
  result<void> add_secret(std::string value);
  void remove_secret(const std::string& value);

  statistics stats() const;

 private:
  class core;
  std::shared_ptr<core> core_;
};

}  // namespace caged::journal
