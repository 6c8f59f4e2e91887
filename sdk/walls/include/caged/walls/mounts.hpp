// Mounts by the descriptor-based interface: restricted before anybody can use them, attached when they are finished.
#pragma once

#include <sys/mount.h>

#include <cstdint>
#include <string>
#include <vector>

#include <caged/walls/system.hpp>
#include <caged/walls/unique_fd.hpp>

namespace caged::walls {

// All of it throws step_failure (wall "mount").

inline constexpr std::uint64_t quiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

struct option {
  const char* key;
  std::string value;  // "" = a flag
};

// Of a mount that is attached nowhere yet.
void restrict_mount(int tree, std::uint64_t attributes, const std::string& what);
// One mount, without what is mounted below it. `path` "" = `dir` itself.
unique_fd clone_tree(int dir, const char* path, const std::string& what);
unique_fd fresh(const char* type, const std::vector<option>& options, std::uint64_t attributes);
void attach(int tree, int dir, const std::string& target);
void make_file(const std::string& path);

// What is put over things that nobody inside shall see: an empty folder and an empty file. Cloning a mount is several
// times cheaper than making a file system for each. The first use takes the mount itself, because kernels before 6.15
// clone only what is attached.
struct covers {
  struct source {
    unique_fd mount;
    bool attached = false;
  };
  source folder, file;
};
covers make_covers();
void cover(covers& with, const std::string& path);
// Makes what lies at `path` read-only.
void freeze(const std::string& path);
// A new procfs at ROOT/proc, of this PID namespace; what in it speaks about the machine, or sets it, is covered or
// read-only. To a process with the host's user 0 /proc/sys is writable without any capability, so this is a wall.
void attach_proc(covers& with, const std::string& root, const std::vector<option>& options);

}  // namespace caged::walls
