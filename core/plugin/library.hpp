// Admits and maps plugin files. The only user of Boost.DLL.
#pragma once

#include <caged_plugin.h>
#include <caged/result.hpp>

#include <filesystem>

namespace caged::plugins {

// A folder or file that others could change is as good as their code in this process: it must belong to root or to
// this user, and neither it nor the folder it lies in may be writable for group or others. Returns the path without
// symbolic links. A folder above that everyone may write, without the sticky bit, is refused too.
result<std::filesystem::path> admit_file(const std::filesystem::path& file);
result<std::filesystem::path> admit_folder(const std::filesystem::path& folder);

// Maps an admitted file and finds its descriptor. Never unmapped: code of it may still be on some stack.
result<const caged_plugin_descriptor*> map_file(const std::filesystem::path& file);

}  // namespace caged::plugins
