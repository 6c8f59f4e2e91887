// The database as the commit queue's thread sees it: commits that wait at the same time share a transaction.
#pragma once

#include <caged/storage_support.hpp>

#include "settings.hpp"

namespace caged::storage_sqlite {

// Takes the file's lock in open() and holds it until it is destroyed.
std::unique_ptr<commit_worker> make_worker(settings s);

}  // namespace caged::storage_sqlite
