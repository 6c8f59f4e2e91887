// Runs the real `caged` against a real server, as a person or a script would.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace caged::testing {

struct finished {
  int code = -1;  // exit code; 1000 + n when signal n ended it; -1 when it did not end in time
  std::string out;
  std::string err;
};

// A running `caged`; killed when it is dropped before it ended.
class program {
 public:
  program(const std::filesystem::path& scratch, std::vector<std::string> words, const std::string& input,
          const std::filesystem::path& data);
  ~program();
  program(const program&) = delete;
  program& operator=(const program&) = delete;

  void send(int signal_number) const;
  // Whether its standard output holds `text` before the time is over.
  bool prints(const std::string& text, std::chrono::seconds time) const;
  finished wait(std::chrono::seconds time);

 private:
  pid_t pid_ = -1;
  std::filesystem::path base_;
};

// One server for all tests of this program, on a data folder of its own; made by the first call, ended by
// stop_server().
struct server_home {
  std::filesystem::path root;  // scratch
  std::filesystem::path data;
};
const server_home& server();
void stop_server();

// Runs `caged WORDS…` against that server.
finished caged(std::vector<std::string> words, const std::string& input = {});

std::string read_file(const std::filesystem::path& file);

// Starts the program on descriptors that the caller prepared; for terminals. Does not return.
[[noreturn]] void become_caged(const std::vector<std::string>& words, const std::filesystem::path& data);

}  // namespace caged::testing
