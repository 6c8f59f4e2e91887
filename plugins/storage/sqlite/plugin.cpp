// The door of the SQLite storage plugin.
#include <caged/define_plugin.hpp>

#include "sqlite_storage.hpp"

namespace caged::storage_sqlite {

class loaded_storage final : public sqlite_storage {
 public:
  loaded_storage(host& h, const json& config) : sqlite_storage(read_settings(config, h.data_dir()).value()) {}
};

}  // namespace caged::storage_sqlite

CAGED_PLUGIN(caged::storage_sqlite::loaded_storage, .summary = "Records and events in one SQLite file.")
