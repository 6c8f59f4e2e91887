// The operator's configuration of the network, as the egress plane wants it.
#pragma once

#include "core/config/environment.hpp"
#include "core/config/host_config.hpp"
#include "core/network/egress.hpp"

namespace caged::network {

// Addresses and patterns read; the proxy taken from HTTPS_PROXY and NO_PROXY where the configuration names none.
// Errors: invalid_argument with the path under /network.
result<settings> make_settings(const config::host_config& host, const config::environment& env);

}  // namespace caged::network
