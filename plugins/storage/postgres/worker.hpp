// The database as the commit queue's thread sees it: owns the schema, groups commits, survives a lost connection.
#pragma once

#include <caged/storage_support.hpp>

#include "connection.hpp"

namespace caged::storage_postgres {

// open() takes the ownership of the schema, an advisory lock of the connection: a second server is refused, or waits,
// and has it as soon as the first is gone. After a lost connection the ownership is taken again; when another server
// had it meanwhile, every commit fails for good (conflict, "storage_taken_over"): this host's picture is out of date.
std::unique_ptr<commit_worker> make_worker(settings s);

}  // namespace caged::storage_postgres
