// Small readers of /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace caged::agent {

// The whole of a small file, "" when it cannot be read. Never blocks on a FIFO.
std::string read_small(const std::string& path, std::size_t limit = 64u << 10);

struct process_row {
  pid_t pid = 0, parent = 0, session = 0;
  char state = '?';
  std::uint64_t ticks = 0;           // of itself: user and system
  std::uint64_t children_ticks = 0;  // of children it waited for
  std::uint64_t start_ticks = 0;     // since boot
  std::uint64_t resident_pages = 0;
  std::string name;
};

// Every process that /proc shows.
std::vector<process_row> read_processes();
bool read_process(pid_t pid, process_row& out);

}  // namespace caged::agent
