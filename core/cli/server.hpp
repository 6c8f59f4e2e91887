// Finds a running server, and starts a local one.
#pragma once

#include <core/cli/session.hpp>
#include <filesystem>

namespace caged::cli {

// What a search starts from. The flags may be empty.
struct server_search {
  std::string api_url;
  std::string api_key;
  std::string data;                 // not empty: the local server of this folder, whatever the environment says
  config::environment env;
  std::filesystem::path data_dir;   // the folder in force
};

// In this order: --api-url, --data, CAGED_API_URL, the client configuration, the local server of the data folder.
// A key belongs to where it was found: one from a file is never sent to a URL from elsewhere. Errors: unavailable
// "no_local_server" says how to start one; unauthenticated "no_api_key" says where a key is taken from.
result<endpoint> find_endpoint(const server_search& search);

// The server that `folder`/server.json names, with the key in `folder`/admin.key. Refuses files that others could have
// written. Errors: unavailable "no_local_server".
result<endpoint> local_endpoint(const std::filesystem::path& folder);

// Starts `program serve --data folder` in a session of its own, its output in folder/server.log, and waits until it is
// healthy, at most ten seconds. When another one came first, answers that one.
result<endpoint> start_server(const std::filesystem::path& program, const std::filesystem::path& folder,
                              const config::environment& env);

}  // namespace caged::cli
