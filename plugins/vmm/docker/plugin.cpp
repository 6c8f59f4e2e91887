// The Docker backend's door.
#include "backend.hpp"

#include <caged/define_plugin.hpp>

CAGED_PLUGIN(caged::vmm::docker::backend, .summary = "Boxes that are containers of a Docker or Podman engine.",
             .offers = CAGED_OFFERS_PAUSE | CAGED_OFFERS_SNAPSHOT | CAGED_OFFERS_FORK | CAGED_OFFERS_ADOPT)
