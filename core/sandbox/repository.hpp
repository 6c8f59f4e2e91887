// Brings a repository to the host and packs it for a sandbox. Runs git and tar as programs, hardened.
#pragma once

#include <caged/streams.hpp>
#include <filesystem>

#include "core/sandbox/record.hpp"

namespace caged::sandbox {

struct fetch_request {
  repository repo;
  std::string token;  // for a private repository; travels to git by environment, never by argv
  std::filesystem::path staging;  // made here, removed by the caller
  std::vector<std::filesystem::path> roots;  // host folders a path may lie in; empty = any
  std::chrono::seconds limit{600};  // for each run of git
};

struct fetched {
  std::filesystem::path folder;  // what goes to /workspace
  std::string commit;  // checked out; "" when it is no git repository
};

// Blocks; call it on a pool. A path without branch and commit is taken as it is, uncommitted work included; anything
// else is cloned. git runs without the host's configuration, hooks, prompts or external protocols.
result<fetched> fetch_to_host(const fetch_request& want);

// The folder as a tar stream: no owners, no sockets; symbolic links as links.
result<std::shared_ptr<byte_source>> pack_folder(asio::any_io_executor executor, asio::any_io_executor pool,
                                                 std::filesystem::path folder);

}  // namespace caged::sandbox
