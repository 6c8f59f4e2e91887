// Makes pseudo-terminals.
#pragma once

#include "handle.hpp"

namespace caged::agent {

struct terminal_pair {
  fd master;     // non-blocking, ours
  fd user_side;  // the workload's
};

// Owned by `owner` (-1: left as it is), of the given size, UTF-8 aware.
terminal_pair open_terminal(int columns, int rows, int owner);

}  // namespace caged::agent
