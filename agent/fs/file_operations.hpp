// The file.* operations of the wire protocol.
#pragma once

#include <memory>

#include "connection.hpp"

namespace caged::agent {

class server;

// False when the operation is not one of files.
bool dispatch_file_operation(server& agent, const std::shared_ptr<call>& asked);

}  // namespace caged::agent
