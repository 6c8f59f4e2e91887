// Turns what the witness recorded of executions into facts for the journal.
#pragma once

#include <caged/event.hpp>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace caged::vmm::jail {

class message_reader;

// Thread-safe. A program that ends within `settle` becomes one fact, phase "finished", with its exit. One that runs
// longer becomes two: "started", and, without arguments, "finished".
class exec_evidence {
 public:
  static constexpr auto settle = std::chrono::milliseconds(200);

  // `sink` outlives this; null: facts go nowhere.
  void open(event_sink* sink) { sink_ = sink; }

  // Facts of the box with this token belong to the sandbox `id`; `root_uid` is its root's user id on the host, of
  // `uid_count` consecutive ones.
  void add(std::uint64_t token, const std::string& id, std::uint32_t root_uid, std::uint32_t uid_count);
  // Publishes what is known of the box and forgets it.
  void remove(std::uint64_t token);

  void packet(std::string_view records);
  // Publishes what has settled.
  void tick();

  // Who a process of the host is inside; empty program when it never executed anything that was seen.
  struct program {
    std::string path;
    std::int64_t pid = 0;
    std::vector<std::string> ancestors;  // whole paths, nearest first; of each what it was before, too
  };
  program program_of(std::uint64_t token, std::int64_t host_pid) const;

 private:
  struct running {
    std::string path;
    std::int64_t pid = 0, ppid = 0;  // inside
    std::vector<std::string> before;  // what the process was before it executed this: npm, of node
  };
  struct entry {
    event fact;
    std::chrono::steady_clock::time_point seen;
    bool published = false;
    std::int64_t host_pid = 0;
  };
  struct box {
    std::string id;
    std::uint32_t root_uid = 0, uid_count = 1;
    std::map<std::uint64_t, entry> open;          // by record number
    std::map<std::int64_t, running> by_host_pid;
    std::map<std::int64_t, running> by_pid;
  };

  void on_exec(message_reader& in);
  void on_end(message_reader& in);
  void publish_start(entry& e);
  static std::vector<std::string> ancestors(const box& b, std::int64_t ppid);

  mutable std::mutex guard_;
  event_sink* sink_ = nullptr;
  std::map<std::uint64_t, box> boxes_;
};

// Bytes that the box chose, as text for JSON.
std::string as_text(const std::string& bytes);

}  // namespace caged::vmm::jail
