// The descriptors with which the launcher of a virtual machine is started.
#pragma once

namespace caged::vmm::qemu {

enum : int {
  fd_spec = 3,     // what to start, as JSON: {argv, root: [{from, to, write?}], uid, fsize, space}
  fd_report = 4,   // gets "ok RELAY MACHINE", their numbers, or why not
  fd_end = 5,      // gets "exited N" or "killed N" when the machine has ended
  fd_agent = 6,    // listening: connections to the agent
  fd_control = 7,  // listening: the host's side channel
  fd_port = 8,     // made by the launcher: the machine's end of the port
  fd_qmp = 9,      // and from here on for QEMU alone; listening
  fd_image = 10,
  fd_disk = 11,
  fd_disk_read = 12,  // the same for reading only: QEMU begins with that
  fd_state = 13,   // the devices' state to begin with
  fd_after = 14,
};

}  // namespace caged::vmm::qemu
