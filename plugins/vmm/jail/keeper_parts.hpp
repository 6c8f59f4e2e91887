// What making a box has at hand, shared by the files of the keeper that make one.
#pragma once

#include "keeper.hpp"

#include <optional>

namespace caged::vmm::jail {

struct keeper::parts {
  unique_fd folder, fs, agent, listen, ready_read, ready_write, env;
  std::uint32_t owner = 0;
  bool rehearsal = false;  // the launcher stands in for the agent, says that it is ready, and ends
  bool ahead = false;      // the agent waits for its environment, which comes through `env_write`
  unique_fd env_write;
  std::optional<kept_snapshot> from;
  host_template fresh;     // where it is not made from a snapshot
  std::string host_name;   // set: another than the id
};

}  // namespace caged::vmm::jail
