// The table of operations a host can ask for; sdk/wire/PROTOCOL.md is its description.
#pragma once

#include <memory>

#include "connection.hpp"

namespace caged::agent {

class server;

// Starts the asked operation. Throws a failure, or sees to it that the call is answered.
void dispatch(server& agent, const std::shared_ptr<call>& asked);

}  // namespace caged::agent
