#include <caged/result.hpp>

#include <array>
#include <cerrno>
#include <cstring>

namespace caged {
namespace {

struct class_row {
  errc code;
  std::string_view name;
  int status;
};

constexpr std::array<class_row, 15> classes{{
    {errc::unset, "unset", 500},
    {errc::invalid_argument, "invalid_argument", 400},
    {errc::unauthenticated, "unauthenticated", 401},
    {errc::permission_denied, "permission_denied", 403},
    {errc::not_found, "not_found", 404},
    {errc::conflict, "conflict", 409},
    {errc::too_large, "too_large", 413},
    {errc::limit_exceeded, "limit_exceeded", 429},
    {errc::cancelled, "cancelled", 499},
    {errc::internal, "internal", 500},
    {errc::unsupported, "unsupported", 501},
    {errc::unavailable, "unavailable", 503},
    {errc::deadline_exceeded, "deadline_exceeded", 504},
    {errc::insufficient_storage, "insufficient_storage", 507},
    {errc::unset, "unknown", 500},
}};

const class_row& row(errc code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index + 1 < classes.size() ? classes[index] : classes.back();
}

}  // namespace

std::string_view to_string(errc code) noexcept { return row(code).name; }

int http_status(errc code) noexcept { return row(code).status; }

std::string describe(const error& e) {
  std::string text = e.message;
  if (!e.path.empty()) text += " at " + e.path;
  if (!e.reason.empty()) text += " (" + e.reason + ")";
  if (!e.action.empty()) text += ". " + e.action;
  return text;
}

error errno_error(int err, std::string_view what, std::string action) {
  error e;
  e.message = std::string(what) + ": " + std::strerror(err);
  e.action = std::move(action);
  const auto is = [&e](errc code, const char* reason) {
    e.code = code;
    e.reason = reason;
  };
  switch (err) {
    case ENOENT:
      is(errc::not_found, "no_such_file");
      break;
    case ENOTDIR:
      is(errc::invalid_argument, "not_a_directory");
      break;
    case EISDIR:
      is(errc::invalid_argument, "is_a_directory");
      break;
    case EEXIST:
      is(errc::conflict, "already_exists");
      break;
    case ENOTEMPTY:
      is(errc::conflict, "directory_not_empty");
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      is(errc::permission_denied, "permission_denied");
      break;
    case ELOOP:
      is(errc::invalid_argument, "symlink_loop");
      break;
    case ENAMETOOLONG:
      is(errc::invalid_argument, "name_too_long");
      break;
    case EINVAL:
      is(errc::invalid_argument, "invalid_argument");
      break;
    case ENOSPC:
    case EDQUOT:
      is(errc::insufficient_storage, "disk_full");
      break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      is(errc::limit_exceeded, "out_of_resources");
      break;
    case ENOSYS:
    case EOPNOTSUPP:
      is(errc::unsupported, "unsupported");
      break;
    default:
      is(errc::internal, "system_error");
      break;
  }
  return e;
}

}  // namespace caged
