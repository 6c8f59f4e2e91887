// Work inside a template's root: every path is resolved as if that root were the whole machine.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <caged/owned_fd.hpp>
#include <filesystem>
#include <string>
#include <system_error>

namespace caged::sandbox {

// Links, absolute ones too, lead to places in `root`. -1 and errno on failure.
inline owned_fd open_in(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return owned_fd(static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

// Removes `name` in the folder with all that is in it; follows no link. Nobody else works in it.
inline std::error_code remove_at(int folder, const std::string& name) {
  std::error_code ec;
  std::filesystem::remove_all("/proc/self/fd/" + std::to_string(folder) + "/" + name, ec);
  return ec;
}

}  // namespace caged::sandbox
