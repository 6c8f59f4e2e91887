// What the attacks share. Each runs in a process of its own inside a box.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace caged::attacks {

// Of the host, told by the test.
inline std::string canary, abstract_name, env_name;
inline pid_t host_pid = 0;
inline int host_port = 0;

inline bool can_read(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  char c = 0;
  return fd >= 0 && ::read(fd, &c, 1) > 0;
}
inline bool can_write(const std::string& path, const char* text = "x") {
  const int fd = ::open(path.c_str(), O_WRONLY | O_NONBLOCK);
  return fd >= 0 && ::write(fd, text, std::strlen(text)) > 0;
}
inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}
inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  return ::syscall(number, a, b, c, d, e);
}
inline bool tcp(const char* address, int port) {
  const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, address, &to.sin_addr);
  return ::connect(s, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 || errno == EINPROGRESS;
}
inline bool udp(const char* address, int port) {
  const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, address, &to.sin_addr);
  return ::sendto(s, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == 1;
}

struct attack {
  const char* name;
  const char* wall;
  bool (*works)();
};

// Against kernel interfaces and other processes; attacks.cpp holds the rest.
const std::vector<attack>& kernel_attacks();

}  // namespace caged::attacks
