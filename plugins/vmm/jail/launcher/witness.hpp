// The witness: one small process beside the host that sees every execution in every box and keeps what it saw until the
// host takes it. It outlives the host, so that boxes run on, observed, while the host restarts.
//
// Spoken on its socket (SOCK_SEQPACKET), words as in message_writer; the first word of a connection's message says
// what:
//   add TOKEN + listener            → ok         observe a box from now on
//   drop TOKEN                      → ok         its box is gone
//   give TOKEN                      → ok + listener, or none
//   follow                          → records, several to a message, from now on to this connection
// Records:
//   exec TOKEN NUMBER TIME_US PID PPID HOST_PID HOST_PPID HOST_UID STDIN TRUNCATED PATH CWD ARGV…
//   ran  TOKEN NUMBER PROGRAM                    what the kernel really executed, where that is another program
//   end  TOKEN NUMBER DURATION_US HOW STATUS     HOW: exited (STATUS is a wait status), replaced (by exec NUMBER+n),
//   unknown lost TOKEN COUNT                             executions that were let through while the queue was full
#pragma once

#include <cstdint>

namespace caged::vmm::jail {

// Descriptors the witness is started with.
inline constexpr int witness_listen_fd = 3;
inline constexpr int witness_memory_fd = 4;

// What the witness is answering right now, in memory that the host shares: when the witness is killed, the host answers
// in its place, or the process in the box would wait for ever.
struct witness_memory {
  std::uint64_t token;
  std::uint64_t notification;
};

// Serves until there is no box and no connection left.
int run_witness();

}  // namespace caged::vmm::jail
