// The QEMU backend's door.
#include "backend.hpp"

#include <caged/define_plugin.hpp>

CAGED_PLUGIN(caged::vmm::qemu::backend, .summary = "Boxes that are virtual machines of QEMU, cloned with their memory.",
             .offers = CAGED_OFFERS_PAUSE | CAGED_OFFERS_SNAPSHOT | CAGED_OFFERS_FORK | CAGED_OFFERS_ADOPT)
