// What boxes do to files, seen from the host: who writes and who reads what is sensitive by fanotify marks on the box's
// mounts, what came, went and moved by comparing the box's writable layers with what they were before.
#pragma once

#include "diff.hpp"
#include "exec_evidence.hpp"
#include "launcher/unique_fd.hpp"

#include <caged/event.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace caged::vmm::jail {

// Thread-safe. Where the kernel gives no marks (an ordinary user), only the comparison is left; its facts say
// witness "diff". Facts are coalesced; whatever is not told one by one is told as a number.
class file_evidence {
 public:
  struct settings {
    bool on = true;
    std::vector<std::string> sensitive;  // absolute paths inside, or "*/name" for any path that ends so
  };
  struct watched {
    std::int64_t first_pid = 0;  // of the box, on the host: names it here
    std::uint64_t token = 0;  // at the witness
    std::string id;  // the sandbox's; empty while the box has none
    int fs = -1;  // copied
    std::vector<layer> layers;
    manifest start;  // what there is now
    std::function<std::optional<std::chrono::microseconds>()> cpu;  // used so far; tells whether looking is worth it
  };

  // `log` gets a line when marks are not to be had.
  void open(settings s, event_sink* sink, exec_evidence* execs, std::function<void(std::string)> log);
  void close();

  void add(watched w);
  // What was made ahead belongs to a sandbox now, and `start` is what it finds.
  void name(std::int64_t first_pid, const std::string& id, const manifest& start);
  // What is there now counts as having been there before.
  void set_start(std::int64_t first_pid, const manifest& start);
  // Looks a last time, where something may have happened, and forgets the box.
  void remove(std::int64_t first_pid);

 private:
  struct seen_write {
    std::uint64_t count = 0;
    std::int64_t host_pid = 0;
    exec_evidence::program by;
    std::uint64_t size = 0;
    std::uint32_t mode = 0;
    std::uint64_t inode = 0;
  };
  struct box {
    watched what;
    unique_fd fs;
    manifest last;
    std::map<std::string, seen_write> writes, reads;
    std::vector<std::uint64_t> mounts;
    std::chrono::steady_clock::time_point next_look{};
    std::chrono::microseconds cpu_then{0};
    std::uint64_t beyond = 0;  // writes whose path was not kept
    std::map<std::int64_t, std::chrono::steady_clock::time_point> lookups;  // who just opened nsswitch.conf
  };

  void run();
  void read_marks();
  void on_mark(int fd, std::uint64_t mask, std::int64_t host_pid);
  void mark_mounts(box& b);
  void mark_sensitive(const box& b, const std::string& path) const;
  bool is_sensitive(const std::string& path) const;
  bool worth_looking(box& b);
  void look(box& b);
  void tell(const box& b, const char* operation, const std::string& path, const seen_write* by, json more);
  using folder_counts = std::map<std::pair<std::string, std::string>, std::uint64_t>;  // by operation and folder
  void tell_rest(box& b, std::size_t told, folder_counts& by_folder);

  settings settings_;
  event_sink* sink_ = nullptr;
  exec_evidence* execs_ = nullptr;
  unique_fd marks_, wake_;
  std::mutex guard_;
  std::map<std::int64_t, box> boxes_;
  std::map<std::uint64_t, std::int64_t> by_mount_;  // mount id → first_pid
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace caged::vmm::jail
