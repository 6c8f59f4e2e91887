#include "fs/file_operations.hpp"

namespace caged::agent {

bool dispatch_file_operation(server&, const std::shared_ptr<call>&) { return false; }

}  // namespace caged::agent
