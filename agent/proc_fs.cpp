#include "proc_fs.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <cstdlib>

#include "handle.hpp"

namespace caged::agent {

std::string read_small(const std::string& path, std::size_t limit) {
  std::string text;
  const fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return text;
  char piece[4096];
  while (text.size() < limit) {
    const ssize_t n = ::read(file.get(), piece, sizeof piece);
    if (n <= 0) break;
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

bool read_process(pid_t pid, process_row& out) {
  const std::string text = read_small("/proc/" + std::to_string(pid) + "/stat", 4096);
  // The name may hold spaces and parentheses: the fields begin behind the last ")".
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size()) return false;
  out.pid = pid;
  out.name = text.substr(open + 1, close - open - 1);
  // state ppid pgrp session …; numbered from 0 behind the name.
  const char* at = text.c_str() + close + 2;
  const char state = *at++;
  std::int64_t field[22] = {};
  int got = 1;
  for (; got < 22; ++got) {
    char* end = nullptr;
    field[got] = std::strtoll(at, &end, 10);
    if (end == at) break;
    at = end;
  }
  if (got != 22) return false;
  out.state = state;
  out.parent = static_cast<pid_t>(field[1]);
  out.session = static_cast<pid_t>(field[3]);
  out.ticks = static_cast<std::uint64_t>(field[11] + field[12]);
  out.children_ticks = static_cast<std::uint64_t>(field[13] + field[14]);
  out.start_ticks = static_cast<std::uint64_t>(field[19]);
  out.resident_pages = static_cast<std::uint64_t>(field[21]);
  return true;
}

std::vector<process_row> read_processes() {
  std::vector<process_row> rows;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return rows;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    process_row row;
    if (read_process(static_cast<pid_t>(std::atoi(entry->d_name)), row)) rows.push_back(std::move(row));
  }
  ::closedir(folder);
  return rows;
}

}  // namespace caged::agent
