// The host's side of the agent protocol: one connection to one box, multiplexed.
#pragma once

#include <caged/streams.hpp>
#include <caged/task.hpp>
#include <caged/vmm.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace caged::sandbox {

// What a process in the box said or did next.
struct process_item {
  enum class kind : std::uint8_t { unset = 0, out, err, exit } what = kind::out;
  std::string data;  // out, err: raw bytes (a PTY sends everything as out)
  json exit;         // exit: {exit_code|null, signal|null ("SIGKILL"), timed_out, duration_ms, user_ms, system_ms,
                     //        max_rss_kb, out_of_memory, dropped_bytes}
};

// A process in the box, attached to. Letting go of it detaches; the process goes on.
class agent_process {
 public:
  virtual ~agent_process() = default;
  virtual const std::string& id() const noexcept = 0;  // the agent's handle, random
  virtual std::int64_t pid() const noexcept = 0;       // inside the box

  // Output in order, then exit once, then nullopt. Reading slowly stalls the process (flow control), never the
  // connection. If the box is lost: unavailable, reason "sandbox_lost"; an exit is never invented.
  virtual task<std::optional<process_item>> next() = 0;
  virtual task<void> write_stdin(std::string data) = 0;  // waits for credit
  virtual task<void> close_stdin() = 0;
  virtual task<void> resize(int columns, int rows) = 0;  // PTY only, else unsupported
};

class agent_client {
 public:
  virtual ~agent_client() = default;

  // Shakes hands over `stream` (deadline 5 s) and starts the reader. All use is on `executor`, which is one thread or a
  // strand.
  static task<std::shared_ptr<agent_client>> open(asio::any_io_executor executor, box_stream stream);

  // One request, one answer: the operations of sdk/wire/PROTOCOL.md that carry no bulk data, e.g.
  // "file.stat", "file.list", "process.list", "process.signal", "ports.list", "metrics", "ping", "shutdown".
  // An agent's refusal comes back as the error it sent. Cancelling forgets the answer (and cancels a search).
  virtual task<json> request(std::string operation, json arguments) = 0;

  // "exec.start" and "pty.start": starts and attaches. Arguments as in PROTOCOL.md.
  virtual task<std::shared_ptr<agent_process>> start(std::string operation, json arguments) = 0;
  // Attaches again to a process or PTY by the agent's handle: kept output (scrollback) first, then live.
  virtual task<std::shared_ptr<agent_process>> attach(std::string process_id) = 0;

  // "file.read" {path, offset?, length?}: the head (size, mode, mod_time …) and the bytes.
  struct download {
    json head;
    std::shared_ptr<byte_source> bytes;
  };
  virtual task<download> read_file(json arguments) = 0;
  // "file.write" {path, mode?, create_parents?, append?, size?}: streams `bytes`, answers when the file is in place.
  // Atomic: a failed or cut upload leaves the old file. An error of the source aborts the write.
  virtual task<json> write_file(json arguments, std::shared_ptr<byte_source> bytes) = 0;

  // "file.watch" {path, recursive?}: changes until the source is let go. Items as in PROTOCOL.md.
  virtual task<std::shared_ptr<item_source>> watch(json arguments) = 0;

  // What the agent pushes by itself: heartbeat (5 s), metrics (10 s), process exits, ports that open and close.
  // Set once, right after open(); called on the executor.
  virtual void on_notice(std::function<void(std::string type, json data)> handler) = 0;
  // Completes when the connection ends; the error says why. Also after two missed heartbeats.
  virtual asio::awaitable<error> wait_lost() = 0;
  virtual void close() = 0;
};

}  // namespace caged::sandbox
