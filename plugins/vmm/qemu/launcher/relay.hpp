// Between the host's connections and the one port of a virtual machine, as long as the machine lives.
#pragma once

#include <string>

namespace caged::vmm::qemu {

struct relay_ends {
  int port = -1;     // to the machine
  int agent = -1;    // listening
  int control = -1;  // listening; one host at a time
  int machine = -1;  // pidfd
  int log = -1;      // what QEMU writes to stderr
};

// Returns the beginning of the log when the machine has ended or has broken the port's rules. Blocks.
std::string run_relay(const relay_ends& ends);

}  // namespace caged::vmm::qemu
