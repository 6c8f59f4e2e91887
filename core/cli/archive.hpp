// Folders as tar streams, on our side of the wall.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace caged::cli {

// Reads a folder as a tar stream, piece by piece. Symbolic links travel as links, never followed.
class archive_writer {
 public:
  // `inner` is the name the folder has in the archive; "." puts its contents at the top.
  static result<std::unique_ptr<archive_writer>> open(const std::filesystem::path& folder, std::string inner);
  ~archive_writer();
  // The next piece, "" at the end.
  result<std::string> read();
  std::uint64_t bytes() const noexcept;

  struct state;

 private:
  explicit archive_writer(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

// Unpacks a tar stream that somebody else made. Names with "..", absolute names and names that lead through symbolic
// links are refused; devices, sockets and FIFOs are left out; owners and set-id bits are dropped. `top` is the one
// folder every name must lie in; it is replaced by `target`.
result<std::uint64_t> unpack(std::function<result<std::string>()> next, const std::filesystem::path& target,
                             const std::string& top);

}  // namespace caged::cli
