// "file.watch": changes of a folder over a channel, one JSON document per data frame.
#pragma once

#include <memory>

#include "connection.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

void start_watch(loop& l, const tree& files, const std::shared_ptr<call>& asked);

}  // namespace caged::agent
