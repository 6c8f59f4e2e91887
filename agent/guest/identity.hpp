// What makes a machine this one and no other: applied to a clone before anything of the user's runs again.
#pragma once

#include "handle.hpp"

namespace caged::agent {

// `who`: {id, time_unix_ns, random (base64 of 32 to 512 bytes), machine_id, boot_id}. Reseeds the kernel's random
// numbers, sets clock, host name, machine-id and boot id. Throws where the reseed fails: twins must not run.
void assume_identity(const json& who);

}  // namespace caged::agent
