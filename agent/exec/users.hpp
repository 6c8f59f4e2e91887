// Users and groups of the box, read from its own /etc/passwd and /etc/group (a static program has no NSS).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace caged::agent {

struct user {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home = "/";
  std::string shell = "/bin/sh";
  std::vector<gid_t> groups;
};

// "name", "uid" or "uid:gid". Throws a failure (not_found, user_not_found) for a name that is not there.
user find_user(const std::string& wanted);
// The name of a user or group, or its number as text.
std::string user_name(uid_t uid);
std::string group_name(gid_t gid);

}  // namespace caged::agent
