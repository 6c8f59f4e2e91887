// Finds files by pattern and lines by regular expression, within bounds of matches, bytes and time.
#pragma once

#include <atomic>

#include "arguments.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

// "file.glob" {pattern, path?, limit?, respect_gitignore?} → {paths, truncated}
json glob_files(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);
// "file.search" {pattern, path?, literal?, ignore_case?, glob?, limit?, timeout_ms?, respect_gitignore?, max_line?}
// → {matches: [{path, line, column, text}], files_searched, files_skipped, truncated, stopped_by?}
json search_files(const tree& files, const arguments& args, const std::atomic<bool>& cancelled);

}  // namespace caged::agent
