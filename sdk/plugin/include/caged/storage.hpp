// Kind "storage": records by kind and id, and the append-only event log. One is loaded.
#pragma once

#include <caged/event.hpp>
#include <caged/plugin.hpp>
#include <optional>
#include <string>
#include <vector>

namespace caged {

struct record {
  std::string kind;           // "sandbox", "key", "session" …
  std::string id;
  std::uint64_t version = 0;  // 1 after the first write, +1 with each
  json body;
};

// One change of a batch.
struct write {
  // cut: drops the events of session `id` up to the number in `body`, the oldest first; the chain begins behind them.
  enum class op : std::uint8_t { unset = 0, put, erase, cut } what = op::put;
  std::string kind;
  std::string id;
  json body;                                   // for put: the record; for cut: an unsigned integer
  std::optional<std::uint64_t> expect_version;  // set: conflict unless the record has this version (0 = must not exist)
};

// All or nothing; writes before events.
struct batch {
  std::vector<write> writes;
  std::vector<event> events;  // complete: id, sequence and hash already assigned by the journal
};

struct event_query {
  std::string session_id;  // "" = any
  std::string sandbox_id;  // "" = any
  std::vector<std::string> types;  // empty = any
  std::uint64_t after_id = 0;  // host-wide position, exclusive
  std::uint64_t after_sequence = 0;  // within session_id, exclusive
  std::size_t limit = 1000;  // 1 .. 10,000
  bool newest_first = false;
};

// The end of one session's chain.
struct chain_head {
  std::uint64_t sequence = 0;
  std::string hash;
};

// Methods may be awaited concurrently; commits are applied in the order they were called. When commit() returns
// success the batch survives the death of the process (and, by configuration, of the machine). A failed commit leaves
// nothing. A full disk is insufficient_storage; a damaged database is refused in open() with the file and the repair.
class storage : public plugin {
 public:
  static constexpr std::string_view interface_name = "caged.storage.v1";

  virtual task<void> commit(batch b) = 0;
  virtual task<std::optional<record>> get(std::string kind, std::string id) = 0;
  // Ascending by id, those after `after_id`; at most `limit` (1 .. 10,000).
  virtual task<std::vector<record>> list(std::string kind, std::string after_id, std::size_t limit) = 0;
  // Ascending by event id (descending with newest_first). Paging costs the same wherever the page lies.
  virtual task<std::vector<event>> events(event_query q) = 0;
  // Of whole sessions, by type or not, as fast for a million events as for ten.
  virtual task<std::uint64_t> count_events(event_query q) = 0;
  virtual task<std::uint64_t> last_event_id() = 0;
  virtual task<chain_head> head(std::string session_id) = 0;
};

}  // namespace caged
