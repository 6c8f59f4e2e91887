#include "exec/users.hpp"

#include <cstdlib>
#include <functional>

#include "handle.hpp"

#include <fcntl.h>

namespace caged::agent {
namespace {

constexpr std::size_t max_database = 4u << 20;

// Reads a database of the box; the box writes it, so it is bounded and nothing in it is trusted to be well-formed.
std::string slurp(const char* path) {
  const fd file(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  std::string text;
  char piece[4096];
  while (file && text.size() < max_database) {
    const ssize_t n = ::read(file.get(), piece, sizeof piece);
    if (n <= 0) break;
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

std::vector<std::string> split(std::string_view line, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find(separator, at), line.size());
    parts.emplace_back(line.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// Calls `use` with the fields of each line until it returns true.
void each_line(const char* path, std::size_t fields, const std::function<bool(const std::vector<std::string>&)>& use) {
  const std::string text = slurp(path);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const auto parts = split(std::string_view(text).substr(at, end - at), ':');
    at = end + 1;
    if (parts.size() >= fields && use(parts)) return;
  }
}

bool number(const std::string& text, unsigned& out) {
  if (text.empty() || text.size() > 10) return false;
  unsigned long long value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  // The last number means "leave it as it is" to setresuid.
  if (value >= 0xffffffffull) return false;
  out = static_cast<unsigned>(value);
  return true;
}

void supplementary_groups(user& who) {
  who.groups = {who.gid};
  if (who.name.empty()) return;
  each_line("/etc/group", 4, [&](const std::vector<std::string>& row) {
    unsigned gid = 0;
    if (!number(row[2], gid) || gid == who.gid) return false;
    for (const std::string& member : split(row[3], ','))
      if (member == who.name && who.groups.size() < 1024) who.groups.push_back(gid);
    return false;
  });
}

}  // namespace

user find_user(const std::string& wanted) {
  const std::size_t colon = wanted.find(':');
  unsigned uid = 0, gid = 0;
  const bool numeric = number(wanted.substr(0, colon), uid);
  const bool group_given = colon != std::string::npos;
  if (group_given && (!numeric || !number(wanted.substr(colon + 1), gid)))
    throw bad_argument("/user", "user \"" + wanted + "\" is neither a name nor uid:gid with two numbers");
  user found;
  bool known = false;
  each_line("/etc/passwd", 7, [&](const std::vector<std::string>& row) {
    unsigned row_uid = 0, row_gid = 0;
    if (!number(row[2], row_uid) || !number(row[3], row_gid)) return false;
    if (numeric ? row_uid != uid : row[0] != wanted) return false;
    found = user{row[0], row_uid, row_gid, row[5].empty() ? "/" : row[5], row[6].empty() ? "/bin/sh" : row[6], {}};
    return known = true;
  });
  if (!known && !numeric)
    throw failed("not_found", "user_not_found", "the box has no user \"" + wanted + "\"",
                 "Use a user of /etc/passwd, a uid or uid:gid.", "/user");
  if (!known) {
    found.uid = uid;
    found.gid = uid;
  }
  if (group_given) found.gid = gid;
  supplementary_groups(found);
  return found;
}

std::string user_name(uid_t uid) {
  std::string name = std::to_string(uid);
  each_line("/etc/passwd", 3, [&](const std::vector<std::string>& row) {
    if (row[2] != std::to_string(uid)) return false;
    name = row[0];
    return true;
  });
  return name;
}

std::string group_name(gid_t gid) {
  std::string name = std::to_string(gid);
  each_line("/etc/group", 3, [&](const std::vector<std::string>& row) {
    if (row[2] != std::to_string(gid)) return false;
    name = row[0];
    return true;
  });
  return name;
}

}  // namespace caged::agent
