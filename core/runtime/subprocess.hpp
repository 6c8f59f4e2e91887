// Runs a trusted program of the host (git, tar) with an argument vector, never through a shell.
#pragma once

#include <caged/streams.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace caged::runtime {

struct program {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH
  std::map<std::string, std::string> env;  // the whole environment; PATH is added when missing
  std::string directory;                   // "" = the caller's
  std::chrono::seconds limit{600};         // then its process group is killed
};

struct program_result {
  int exit_code = -1;  // 128+n for a signal
  std::string output;  // stdout, at most 1 MiB
  std::string errors;  // stderr, the last 64 KiB
};

// Blocks; call it on a pool. Failure to start, and the time limit, are errors; a non-zero exit is a result.
result<program_result> run_program(const program& p);

// The program's stdout as bytes. A non-zero exit after the last byte is an error of read(), with the end of stderr.
// Letting go of the source kills the program.
result<std::shared_ptr<byte_source>> open_program(asio::any_io_executor executor, asio::any_io_executor pool,
                                                  program p);

}  // namespace caged::runtime
