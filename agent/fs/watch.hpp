// Follows a folder with inotify: recursive, coalesced, bounded; what is lost is counted. Never reads a file's content.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "fs/tree.hpp"
#include "loop.hpp"

namespace caged::agent {

struct file_change {
  std::string operation;  // create, write, chmod, delete, rename
  std::string path;       // relative to the watched folder
  std::string to;         // rename inside the folder: the new path (which also comes as a create)
  std::uint64_t size = 0;
  std::int64_t ts_unix_ms = 0;
};

struct watch_options {
  std::chrono::milliseconds debounce{300};
  std::chrono::milliseconds max_hold{2000};  // a file that never rests is told about this often
  int rate_limit = 0;                        // changes per second with a burst of twice that; 0: none
  std::size_t max_folders = 8192;
  std::size_t max_pending = 4096;
  bool recursive = true;
  bool skip_well_known = false;              // node_modules, .git, target …
};

class folder_watch {
 public:
  // `dropped`: changes lost since the last call. Called on the loop.
  using handler = std::function<void(std::vector<file_change> changes, std::uint64_t dropped)>;
  folder_watch(loop& l, const tree& files, const std::string& path, watch_options options, handler on_changes);
  ~folder_watch();
  folder_watch(const folder_watch&) = delete;
  const std::string& root() const noexcept { return shown_; }
  std::size_t folders() const noexcept { return paths_.size(); }

 private:
  struct pending {
    std::string operation, to;
    steady::time_point first, last;
  };
  void read_events();
  void on_event(std::uint32_t mask, std::uint32_t cookie, int wd, const std::string& name);
  void note(const std::string& path, const char* operation, std::string to = {});
  void add_folder(const std::string& path, bool report);
  void forget_folder(const std::string& path);
  void flush();
  void schedule();

  loop& loop_;
  fd root_, inotify_;
  std::string shown_;
  watch_options options_;
  handler on_changes_;
  std::unordered_map<int, std::string> paths_;
  std::map<std::string, int> folders_;
  std::map<std::string, pending> pending_;
  std::uint32_t moved_cookie_ = 0;
  std::string moved_from_;
  std::uint64_t dropped_ = 0;
  double tokens_;
  steady::time_point refilled_ = steady::now();
  loop::timer_id timer_ = 0;
};

// Folders that change a lot and say little.
bool well_known_noise(std::string_view name) noexcept;

}  // namespace caged::agent
