// How much memory all processes of the jail may have together.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "handle.hpp"

namespace caged::mcp {

// A control group for the jail, of version 2 or 1, where this user may make one. On a machine that allows none the limit
// is one of each process instead.
class memory_limit {
 public:
  // Before the jail is entered. 0 bytes: no limit.
  static memory_limit make(std::uint64_t bytes, std::uint64_t processes);
  // By the jail's first process, before it starts anything.
  void join() const;
  // When all processes are gone.
  void remove() const;

 private:
  agent::fd parent_, group_;
  std::string name_;
  std::uint64_t bytes_ = 0;
};

}  // namespace caged::mcp
