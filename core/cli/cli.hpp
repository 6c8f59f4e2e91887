// The command line of Caged. Everything but `serve` is a client of the REST API.
#pragma once

#include <core/config/host_config.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace caged::cli {

// What `caged serve` was asked for: the configuration file (or the defaults) with the flags laid over it.
struct serve_options {
  config::host_config host;  // ready to use: listen, data, log_level, plugin_dirs come from flags when given
  std::filesystem::path program;  // this executable, resolved
};

// Runs the server until it is told to stop; answers the exit code. Prints its own errors.
using serve_function = std::function<int(const serve_options&)>;

// What the command line has done by rooms it does not know.
struct host_functions {
  serve_function serve;
  // The tools for policies: {tool, …} → its answer. See app/policy_tool.hpp.
  std::function<result<json>(const json&)> policy_tool;
};

// Parses the arguments, runs one command, answers the exit code of the process:
//   0 done · 1 failed · 2 bad usage · run and exec: the command's own, 128+n when signal n ended it, 124 when its
//   time ran out, 125 when Caged itself failed.
// Never throws.
int run(int argc, char** argv, host_functions host);

}  // namespace caged::cli
