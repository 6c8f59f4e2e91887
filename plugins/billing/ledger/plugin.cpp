#include <caged/define_plugin.hpp>

#include "ledger.hpp"

namespace caged::billing::ledger {

CAGED_PLUGIN(double_entry, .summary = "Books usage twice, in the host's storage, and says what was billed.",
             .needs = CAGED_NEEDS_STORAGE)

}  // namespace caged::billing::ledger
