#include "handle.hpp"

#include <cerrno>
#include <cstring>

namespace caged::agent {
namespace {

struct row {
  int err;
  const char* code;
  const char* reason;
};

constexpr row rows[] = {
    {ENOENT, "not_found", "no_such_file"},
    {ENOTDIR, "invalid_argument", "not_a_directory"},
    {EISDIR, "invalid_argument", "is_a_directory"},
    {EEXIST, "conflict", "already_exists"},
    {ENOTEMPTY, "conflict", "directory_not_empty"},
    {EACCES, "permission_denied", "permission_denied"},
    {EPERM, "permission_denied", "permission_denied"},
    {EROFS, "permission_denied", "permission_denied"},
    {ELOOP, "invalid_argument", "symlink_loop"},
    {ENAMETOOLONG, "invalid_argument", "name_too_long"},
    {EINVAL, "invalid_argument", "invalid_argument"},
    {ENOSPC, "insufficient_storage", "disk_full"},
    {EDQUOT, "insufficient_storage", "disk_full"},
    {EFBIG, "too_large", "file_too_large"},
    {EMFILE, "limit_exceeded", "out_of_resources"},
    {ENFILE, "limit_exceeded", "out_of_resources"},
    {ENOMEM, "limit_exceeded", "out_of_resources"},
    {EAGAIN, "limit_exceeded", "out_of_resources"},
    {ENOSYS, "unsupported", "unsupported"},
    {EOPNOTSUPP, "unsupported", "unsupported"},
    {EXDEV, "permission_denied", "outside_workspace"},
};

}  // namespace

failed os_failure(int err, std::string_view what, std::string action) {
  const char* code = "internal";
  const char* reason = "system_error";
  for (const row& r : rows)
    if (r.err == err) {
      code = r.code;
      reason = r.reason;
      break;
    }
  std::string message(what);
  message += ": ";
  message += err == EXDEV ? "the path leads outside of the workspace" : std::strerror(err);
  if (action.empty() && err == EXDEV) action = "Use a path inside the workspace.";
  return failed(code, reason, std::move(message), std::move(action));
}

failed bad_argument(std::string path, std::string message, std::string action) {
  return failed("invalid_argument", "bad_argument", std::move(message), std::move(action), std::move(path));
}

}  // namespace caged::agent
