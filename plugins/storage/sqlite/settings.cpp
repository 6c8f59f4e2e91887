#include "settings.hpp"

namespace caged::storage_sqlite {

result<settings> read_settings(const json& config, const std::filesystem::path& data_dir) {
  settings s;
  s.file = data_dir / config.value("file", std::string("caged.db"));
  if (s.file.filename().empty())
    return fail(errc::invalid_argument, "invalid_input", "\"file\" names a folder: " + s.file.string(),
                "Name a file, for example \"caged.db\".", "/file");
  const auto level = config.value("synchronous", std::string("normal"));
  if (level == "full")
    s.synchronous = durability::full;
  else if (level == "normal")
    s.synchronous = durability::normal;
  else
    return fail(errc::invalid_argument, "invalid_input", "\"synchronous\" is \"" + level + "\"",
                "Use \"normal\" or \"full\".", "/synchronous");
  s.busy_timeout = std::chrono::milliseconds(config.value("busy_timeout_ms", 5000));
  s.check_budget = std::chrono::milliseconds(config.value("check_budget_ms", 2000));
  s.readers = config.value("readers", std::size_t{2});
  return s;
}

}  // namespace caged::storage_sqlite
