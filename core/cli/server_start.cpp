// Starting a server of one's own: the only part of the command line that makes a process that outlives it.
#include <core/cli/server.hpp>

#include <core/cli/terminal.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

// Whether the port of 127.0.0.1:PORT is taken. A hint only: the server finds out for itself.
bool port_is_taken(const std::string& listen) {
  const std::string prefix = "127.0.0.1:";
  if (listen.rfind(prefix, 0) != 0) return false;
  const int port = std::atoi(listen.c_str() + prefix.size());
  if (port == 0) return false;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool taken = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno == EADDRINUSE;
  ::close(fd);
  return taken;
}

// Only calls that are safe between fork and exec.
[[noreturn]] void become_server(char* const* arguments, int log) {
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  // Nothing of ours may stay open in a process that lives for months: a pipe kept open hangs its reader.
  ::close_range(3, ~0U, 0);
  if (::chdir("/") != 0) ::_exit(126);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

// The end of the log, from `start` on, for the error.
std::string log_tail(const fs::path& log, off_t start) {
  const int fd = ::open(log.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[4096];
  const off_t end = ::lseek(fd, 0, SEEK_END);
  const off_t from = std::max<off_t>(start, end - static_cast<off_t>(sizeof text));
  const ssize_t n = ::pread(fd, text, sizeof text, from);
  ::close(fd);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

bool is_healthy(const endpoint& where) {
  http::client_options options;
  options.base_url = where.url;
  options.connect_timeout = std::chrono::milliseconds(1000);
  auto client = http::client::make(std::move(options));
  if (!client) return false;
  http::client_request request;
  request.target = "/healthz";
  request.silence = std::chrono::milliseconds(1000);
  const auto answer = client->request(std::move(request));
  return answer && answer->ok();
}

result<int> open_log(const fs::path& folder, const fs::path& log) {
  std::error_code failed;
  fs::create_directories(folder.parent_path(), failed);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, "make the data folder " + folder.string(), "Choose another with --data or CAGED_DATA.");
  }
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return errno_error(errno, "open " + log.string(), "Choose another data folder with --data or CAGED_DATA.");
  return fd;
}

}  // namespace

result<endpoint> start_server(const fs::path& program, const fs::path& folder, const config::environment& env) {
  const fs::path log = folder / "server.log";
  auto fd = open_log(folder, log);
  if (!fd) return fd.error();
  const off_t log_start = ::lseek(*fd, 0, SEEK_END);

  std::vector<std::string> words{program.string(), "serve", "--data", folder.string()};
  const auto host = config::load_host_config({}, env);
  if (host && port_is_taken(host->listen)) words.insert(words.end(), {"--listen", "127.0.0.1:0"});
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const pid_t child = ::fork();
  if (child == 0) become_server(arguments.data(), *fd);
  ::close(*fd);
  if (child < 0) return errno_error(errno, "start a server");

  progress waiting("starting a server");
  const auto deadline = clock::now() + std::chrono::seconds(10);
  bool ended = false;
  while (clock::now() < deadline) {
    if (auto where = local_endpoint(folder); where && is_healthy(*where)) return *where;
    if (!ended && ::waitpid(child, nullptr, WNOHANG) == child) {
      // Perhaps it lost against another one that starts at the same time: that one gets two seconds.
      ended = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      auto other = local_endpoint(folder);
      if (!other) break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::string tail = log_tail(log, log_start);
  return fail(errc::unavailable, "server_start_failed",
              std::string(ended ? "the server that was started has ended" : "the server is not healthy after 10 s") +
                  (tail.empty() ? "" : "; it wrote:\n" + tail),
              "See " + log.string() + ", or run 'caged serve --data " + folder.string() + "' to watch it.");
}

}  // namespace caged::cli
