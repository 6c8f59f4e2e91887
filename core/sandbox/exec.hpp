// Running a command through the agent to its end, with its output kept within bounds.
#pragma once

#include <chrono>

#include "core/sandbox/agent_client.hpp"

namespace caged::sandbox {

struct exec_request {
  json arguments;                             // of "exec.start", PROTOCOL.md
  std::shared_ptr<byte_source> stdin_bytes;   // null: no stdin
  std::chrono::milliseconds limit{300'000};   // then the whole process tree is killed, by the agent
  std::function<void(const agent_process&)> on_start;  // told once it runs; may be empty
  std::size_t keep = 1024 * 1024;             // bytes kept of each stream; what exceeds it is read and counted
};

struct exec_outcome {
  std::string process_id;
  std::int64_t pid = 0;
  std::string out, err, merged;  // merged: in the order in which it arrived
  std::uint64_t dropped = 0;     // bytes beyond `keep`, both streams
  json exit;                     // as in process_item
};

// Cancelling it kills the process tree: the caller was the only one who wanted it.
task<exec_outcome> exec_buffered(std::shared_ptr<agent_client> client, exec_request request);

// Writes the bytes to the process and closes its stdin. A process that closed it early is no failure: its exit tells.
task<void> feed(std::shared_ptr<agent_process> process, std::shared_ptr<byte_source> bytes);

// The agent's exit as the API and the journal show it.
json exit_body(const json& exit);

// Text for JSON: invalid UTF-8 is replaced by U+FFFD.
std::string to_utf8(std::string_view bytes);
// Whether the bytes are UTF-8 as they stand.
bool is_utf8(std::string_view bytes) noexcept;

}  // namespace caged::sandbox
