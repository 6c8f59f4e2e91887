// The tables, as a list of migrations that only grows.
#pragma once

#include "connection.hpp"

namespace caged::storage_postgres {

int newest_schema();

// Makes the schema when it is missing and applies what is missing in it, each migration in a transaction of its own.
// Refuses one of a newer program (unsupported, "storage_too_new") or of another (internal, "storage_foreign"). Throws
// what pqxx throws. The caller owns the schema (see worker.cpp).
result<void> migrate(pqxx::connection& c, const settings& s);

}  // namespace caged::storage_postgres
