#include "process.hpp"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace caged::bench {

namespace {

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
  }
  return status;
}

}  // namespace

void run_process(const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::system_error(failed, std::generic_category(), "posix_spawn " + argv[0]);
  const int status = wait_for(pid);
  if (status != 0) throw std::runtime_error(argv[0] + " ended with wait status " + std::to_string(status));
}

std::size_t run_on_terminal(const std::string& command) {
  int terminal = -1;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "forkpty");
  if (pid == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  std::size_t total = 0;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(terminal, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;  // EIO: the other side is closed
    total += static_cast<std::size_t>(got);
  }
  ::close(terminal);
  if (wait_for(pid) != 0) throw std::runtime_error("'" + command + "' failed");
  return total;
}

double pss_mib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string word; in >> word;) {
    if (word != "Pss:") continue;
    double kib = 0;
    in >> kib;
    return kib / 1024;
  }
  return 0;
}

namespace {

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

pid_t parent_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("PPid:")) return std::stoi(line.substr(5));
  }
  return 0;
}

}  // namespace

std::set<pid_t> processes_named(const std::string& prefix) {
  std::set<pid_t> found;
  for (const pid_t pid : all_processes()) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/comm");
    std::string comm;
    std::getline(in, comm);
    if (comm.starts_with(prefix)) found.insert(pid);
  }
  return found;
}

std::set<pid_t> family_of(std::set<pid_t> roots) {
  const std::vector<pid_t> all = all_processes();
  for (bool grown = true; grown;) {
    grown = false;
    for (const pid_t pid : all) {
      if (!roots.contains(pid) && roots.contains(parent_of(pid))) grown = roots.insert(pid).second;
    }
  }
  return roots;
}

}  // namespace caged::bench
