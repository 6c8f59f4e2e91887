// The jail's door.
#include "backend.hpp"

#include <caged/define_plugin.hpp>

CAGED_PLUGIN(caged::vmm::jail::backend, .summary = "Boxes made of Linux namespaces, as root or as an ordinary user.",
             .offers = CAGED_OFFERS_PAUSE | CAGED_OFFERS_CHANGES | CAGED_OFFERS_ADOPT)
