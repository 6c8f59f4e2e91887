// Changes the tree: make, move, copy, remove, chmod, symlink. May block: run it as a job.
#pragma once

#include <atomic>

#include "arguments.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

json make_folder(const tree& files, const arguments& args);
json move_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);
json copy_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);
// Never follows a symlink; refuses "/" and the workspace itself, by whatever name.
json remove_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);
json change_mode(const tree& files, const arguments& args);
json make_symlink(const tree& files, const arguments& args);

}  // namespace caged::agent
