// A template's files on the host: layers applied safely, made the same every time, digested, and looked at again.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

namespace caged::sandbox {

struct tree_limits {
  std::uint64_t bytes = 64ull << 30;
  std::uint64_t entries = 4'000'000;
};

// Takes a tar (compressed or not) that anybody may have made apart over the files in `root`, as an OCI layer says:
// later entries replace earlier ones, `.wh.NAME` deletes. No name leads out of `root`, nothing is followed, devices and
// attributes that mean something to the host are left out. `left` is what may still be written. Blocks.
result<void> apply_layer(const std::filesystem::path& tar, int root, tree_limits& left);

// Takes away what differs from build to build or belongs to one machine, adds what every box needs, and lets no file
// be younger than `epoch`.
result<void> settle_tree(int root, std::int64_t epoch);

struct tree_sum {
  std::string digest;  // "sha256-…" of names, kinds, modes, owners, times, attributes, links and contents
  std::string seal;    // of what a look at every name shows, not at contents: cheap, and of this copy only
  std::uint64_t bytes = 0, files = 0;
};
enum class depth : std::uint8_t { unset = 0, names, contents };
// `names`: no digest.
result<tree_sum> sum_tree(int root, depth how_deep);

// Of everything that is left to read from `fd`, as 64 hex characters.
result<std::string> sha256_of(int fd);

}  // namespace caged::sandbox
