// Describes files and lists folders.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

// Looks each user and group up once per request.
class name_cache {
 public:
  const std::string& user(uid_t uid);
  const std::string& group(gid_t gid);

 private:
  std::map<uid_t, std::string> users_;
  std::map<gid_t, std::string> groups_;
};

// "file", "directory", "symlink", "fifo", "socket", "device".
const char* type_name(mode_t mode) noexcept;
// {name, path, type, size, mode, permissions, uid, gid, owner, group, mod_time_unix_ms, symlink_target?}
json describe_entry(int parent, const std::string& name, const std::string& shown_path, const struct stat& st,
                    name_cache& names);

json stat_entry(const tree& files, const arguments& args);
json list_entries(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);

// The names in a folder, sorted; without "." and "..". At most `limit`, then `more` is set.
std::vector<std::string> names_in(int folder, std::size_t limit, bool& more);
// Opens the folder `name` in `parent` without following a symlink; empty when it is none.
fd open_folder(int parent, const std::string& name);

inline constexpr int max_walk_depth = 128;

}  // namespace caged::agent
