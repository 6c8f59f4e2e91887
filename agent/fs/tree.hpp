// The file tree operations work in: the whole box, or one workspace that no path can leave.
#pragma once

#include <fcntl.h>

#include <string>

#include "handle.hpp"

namespace caged::agent {

// How a workspace is held.
enum class confinement : std::uint8_t {
  unset = 0,
  box,        // "/" of the box: its walls are the jail's business
  workspace,  // openat2(RESOLVE_BENEATH): no "..", absolute path or symlink leads out
};

class tree {
 public:
  // `folder` must exist. With confinement::box, paths are absolute or relative to `folder`; with workspace they are
  // relative to it (an absolute path that begins with it is taken as inside).
  tree(std::string folder, confinement how);

  const std::string& folder() const noexcept { return folder_; }
  confinement how() const noexcept { return how_; }

  // Opens with O_CLOEXEC | O_NOCTTY added. Throws a failure that names the path.
  fd open(const std::string& path, int flags, unsigned mode = 0) const;
  // Opens the folder that holds `path`; `name` gets the last part ("" where the path is the root itself).
  fd open_parent(const std::string& path, std::string& name) const;
  // `path` as it is told to people and clients: absolute, without "." and double slashes.
  std::string shown(const std::string& path) const;
  // Makes `path` and its missing parents; returns how many were made.
  int make_parents(const std::string& path, unsigned mode, int owner, int group) const;
  // Follows the symlinks at the end of `path`, so that a write goes where a plain open would go.
  std::string final_target(const std::string& path) const;

 private:
  std::string inside(const std::string& path) const;
  int open_raw(const std::string& path, int flags, unsigned mode) const;
  std::string folder_;
  confinement how_;
  fd root_;
};

}  // namespace caged::agent
