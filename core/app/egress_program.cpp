// caged-egress: the egress plane for one jail that another program made. That program hands over, on descriptor 3, the
// sockets of a gate that lies in the jail's network namespace; what arrives at them may go where the patterns on the
// command line lead. It ends when descriptor 3 does. One message in, one out: "" once it serves, else why it does not.
#include <grp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/network/settings.hpp"

namespace caged::app {
namespace {

constexpr int link = 3;
constexpr std::size_t most_sockets = 16;

// As the server's own log lines are.
void say(const char* level, const std::string& text) {
  const json line{{"channel", "egress"}, {"level", level}, {"message", text}};
  std::fprintf(stderr, "%s\n", line.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
}

// The words of the message name what each descriptor is for, in their order.
result<box_gate> receive_gate() {
  char words[1024];
  alignas(cmsghdr) char control[CMSG_SPACE(most_sockets * sizeof(int))];
  iovec part{words, sizeof words - 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(link, &message, MSG_CMSG_CLOEXEC);
  if (size <= 0) return errno_error(size == 0 ? EPIPE : errno, "receive the gate");
  words[size] = '\0';
  std::vector<owned_fd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c))
    if (c->cmsg_type == SCM_RIGHTS)
      for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        fds.emplace_back(fd);
      }
  box_gate gate;
  std::size_t next = 0;
  for (char* word = std::strtok(words, " "); word != nullptr && next < fds.size(); word = std::strtok(nullptr, " ")) {
    const std::string_view kind = word;
    auto& list = kind == "stream" ? gate.streams : kind == "dns_stream" ? gate.dns_streams : gate.dns_datagrams;
    list.push_back(std::move(fds[next++]));
  }
  if (gate.streams.empty()) return fail(errc::invalid_argument, "no_gate", "the message has no sockets of a gate");
  return gate;
}

// The backend of the one box there is.
class handed_gate : public vmm_network {
 public:
  task<box_gate> open_gate(std::string) override { co_return receive_gate(); }
  task<std::vector<owned_fd>> inner_sockets(std::string, int, unsigned) override {
    co_return fail(errc::unsupported, "no_inner_sockets", "nothing reaches into this jail");
  }
};

result<network::settings> settings_for(const std::vector<std::string>& patterns) {
  config::host_config nothing;
  auto made = network::make_settings(nothing, config::process_environment());
  if (!made) return made.error();
  // Whoever writes a private address on the command line means it.
  for (const auto& text : patterns) {
    auto p = network::host_pattern::parse(text);
    if (p) made->allow_inner.push_back(std::move(*p));
  }
  return made;
}

asio::awaitable<void> serve(network::egress* plane, vmm_network* gate, network::rules rules, asio::io_context* io) {
  std::string answer;
  auto opened = co_await plane->open("jail", *gate, std::move(rules));
  if (!opened) answer = describe(opened.error());
  if (answer.empty()) answer = "ok";
  if (::send(link, answer.data(), answer.size(), MSG_NOSIGNAL) < 0 || !opened) io->stop();
}

// What it reads was written by an attacker and needs no right but to connect. False: the rights could not be given up.
bool give_up_rights() {
  constexpr unsigned nobody = 65534;
  if (::geteuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0))
    return false;
  // After the change of user, which clears it.
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

int run(int argc, char** argv) {
  if (!give_up_rights()) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> patterns(argv + 1, argv + argc);
  auto rules = network::make_rules("allowlist", patterns);
  auto options = settings_for(patterns);
  if (!rules || !options) {
    const std::string why = describe(!rules ? rules.error() : options.error());
    (void)receive_gate();  // or the answer would be lost with what was not read
    ::send(link, why.data(), why.size(), MSG_NOSIGNAL);
    return 2;
  }
  asio::io_context io(1);
  network::egress::parts parts;
  parts.executor = io.get_executor();
  parts.options = std::move(*options);
  parts.publish = [](event e) {
    if (e.data.value("verdict", "") == "deny") say("info", "denied: " + e.data.value("reason", e.data.dump()));
  };
  parts.log = [](log_level l, std::string text) { say(l >= log_level::error ? "error" : "warn", text); };
  network::egress plane(std::move(parts));
  handed_gate gate;
  asio::posix::stream_descriptor closed(io, ::dup(link));
  asio::co_spawn(io, serve(&plane, &gate, std::move(*rules), &io), [&](std::exception_ptr) {
    closed.async_wait(asio::posix::descriptor_base::wait_read, [&io](boost::system::error_code) { io.stop(); });
  });
  io.run();
  std::_Exit(0);
}

}  // namespace
}  // namespace caged::app

int main(int argc, char** argv) { return caged::app::run(argc, argv); }
