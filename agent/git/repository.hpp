// Finds the git repository of a folder without asking git, and says with what environment git may work in it.
//
// A repository's own files can make git run programs (hooks, filters, pagers, external diffs …) and reach files outside
// (work trees, alternates, a .git that is a file or a symlink). Whoever writes in a workspace writes those files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fs/tree.hpp"

namespace caged::agent {

struct git_repository {
  std::string work_tree;  // absolute
  std::string git_dir;  // absolute
  std::string suspicious;  // a word in its configuration that may name a program; empty: none can
};

// The repository that holds the folder `path`, looked for upwards to the root of `files` and no further. Throws a
// failure (not_found; permission_denied where anything of it lies outside).
git_repository find_repository(const tree& files, const std::string& path);

// Variables that fix what git runs: no hooks, no pager, no editor, no helper. `overrides` are further settings.
std::map<std::string, std::string> guarded_environment(
    const std::vector<std::pair<std::string, std::string>>& overrides);
// The same, and the repository is given, not searched for: its core.worktree and a .git elsewhere have no say.
std::map<std::string, std::string> environment_of(const git_repository& where,
                                                  const std::vector<std::pair<std::string, std::string>>& overrides);

}  // namespace caged::agent
