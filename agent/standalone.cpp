#include "standalone.hpp"

namespace caged::agent {

int run_standalone(const options&, fd) { throw failed("unsupported", "unsupported", "not there yet"); }

}  // namespace caged::agent
