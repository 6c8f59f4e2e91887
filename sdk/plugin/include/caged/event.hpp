// One fact, as it stands in the journal.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <string>

namespace caged {

// The number of the event catalogue; a plugin names the one it was built against.
inline constexpr std::uint32_t event_schema_number = 1;

struct event {
  std::uint64_t id = 0;        // host-wide order, from 1; the resume position of live streams
  std::string session_id;      // chain it belongs to
  std::uint64_t sequence = 0;  // within the session, from 1, without gaps
  std::string sandbox_id;      // "" for facts about the host
  std::string type;            // lifecycle command file_op network llm_call tool_call error desktop …
  std::int64_t time_us = 0;    // Unix time in microseconds
  std::int64_t duration_us = 0;
  json data = json::object();  // by type
  std::string hash;            // SHA-256 (hex) over the previous hash and this event's canonical text
};

// Where parts of the host and plugins drop facts. Thread-safe; returns at once; order per caller is kept. An event that
// must be durable before an answer is written through storage::commit instead, by core.
class event_sink {
 public:
  static constexpr std::string_view interface_name = "caged.event_sink.v1";
  virtual ~event_sink() = default;
  // id, sequence and hash are assigned by the journal; session_id "" means the sandbox's current session.
  virtual void publish(event e) = 0;
};

}  // namespace caged
