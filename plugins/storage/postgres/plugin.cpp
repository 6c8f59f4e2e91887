// The door of the PostgreSQL storage plugin.
#include <caged/define_plugin.hpp>

#include "postgres_storage.hpp"

namespace caged::storage_postgres {

class loaded_storage final : public postgres_storage {
 public:
  loaded_storage(host&, const json& config) : postgres_storage(read_settings(config)) {}
};

}  // namespace caged::storage_postgres

CAGED_PLUGIN(caged::storage_postgres::loaded_storage, .summary = "Records and events in a PostgreSQL schema.")
