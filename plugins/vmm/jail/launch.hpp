// The plugin's side of the launcher: starts it, speaks with it, turns its report into results.
#pragma once

#include "launcher/spec.hpp"
#include "launcher/unique_fd.hpp"
#include "process.hpp"

#include <array>
#include <caged/result.hpp>
#include <filesystem>
#include <functional>

namespace caged::vmm::jail {

struct launched {
  process_identity process;
  unique_fd pidfd;
  bool owners_mapped = false;
  unique_fd listener;                // of the executions inside, where the specification asked for it
  std::vector<std::string> missing;  // walls that do not stand and were accepted
};

// Descriptors that the launcher gets copies of, by `handed`.
using handed_numbers = std::array<int, handed_count>;

// Makes the box's namespaces and starts the agent in them. `on_process` is called when the first process exists but
// does nothing yet: it places it in cgroups and writes the record; its error stops the launch. With a listener the
// first process stands still until somebody answers there. Blocks, at most ~10 s. On failure nothing of the box runs
// any more.
result<launched> launch(const std::filesystem::path& launcher, const launch_spec& spec, const handed_numbers& fds,
                        const std::function<result<void>(const process_identity&)>& on_process);

// Sockets made in a box's network namespace, with what each is for: "stream", "dns_stream", "dns_datagram", "inner".
struct gate_sockets {
  std::vector<unique_fd> fds;
  std::vector<std::string> kinds;
};

// Works in the namespaces of the process behind `pidfd`. Blocks, at most ~10 s.
result<gate_sockets> ask_gate(const std::filesystem::path& launcher, const gate_spec& spec, int pidfd);

}  // namespace caged::vmm::jail
