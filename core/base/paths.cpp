#include "core/base/paths.hpp"

#include <pwd.h>
#include <unistd.h>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

namespace caged::base {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

fs::path home_dir() {
  const std::string home = variable("HOME");
  if (!home.empty() && home.front() == '/') return home;
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr &&
      found->pw_dir != nullptr && found->pw_dir[0] == '/')
    return found->pw_dir;
  return "/";
}

fs::path default_data_dir() {
  if (const std::string chosen = variable("CAGED_DATA"); !chosen.empty()) return fs::absolute(chosen);
  if (::geteuid() == 0) return "/var/lib/caged";
  if (const fs::path xdg = variable("XDG_DATA_HOME"); xdg.is_absolute()) return xdg / "caged";
  return home_dir() / ".local" / "share" / "caged";
}

fs::path program_dir() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

}  // namespace caged::base
