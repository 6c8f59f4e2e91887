// Newline-delimited JSON {type,payload} on a Unix socket: ping, metrics, shutdown, subscribe, watch_files; heartbeat
// and metrics are pushed to every connection that has said something valid.
#include "standalone.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include "fs/watch.hpp"
#include "log.hpp"
#include "loop.hpp"
#include "metrics/metrics.hpp"

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_line = 64u << 10;
constexpr std::size_t max_out = 1u << 20;
constexpr std::size_t max_clients = 64;
constexpr std::size_t max_subscriber_queue = 256;  // changes of one batch for one subscriber

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

struct client {
  fd socket;
  std::string in, out;
  bool subscribed = false, closing = false;
  std::unique_ptr<folder_watch> watch;
  std::uint64_t dropped = 0;
};

class standalone {
 public:
  standalone(const options& o, loop& l)
      : options_(o), loop_(l), files_(o.workspace, confinement::box), metrics_(files_.folder()) {}
  ~standalone() {
    if (listener_) ::unlink(options_.socket.c_str());
  }

  void listen();
  void shut_down() { loop_.stop(); }
  void start_pushing() {
    loop_.after(options_.heartbeat_interval, [this] { heartbeat(); });
    loop_.after(options_.metrics_interval, [this] { push_metrics(); });
  }

 private:
  void accept_all();
  void on_ready(const std::shared_ptr<client>& c, std::uint32_t events);
  void on_line(const std::shared_ptr<client>& c, const std::string& line);
  void watch_files(const std::shared_ptr<client>& c);
  void send(const std::shared_ptr<client>& c, const char* type, json payload);
  void flush(const std::shared_ptr<client>& c);
  void drop(const std::shared_ptr<client>& c);
  void push(const char* type, const json& payload);
  void heartbeat();
  void push_metrics();

  const options& options_;
  loop& loop_;
  tree files_;
  metrics_sampler metrics_;
  fd listener_;
  std::map<client*, std::shared_ptr<client>> clients_;
  steady::time_point started_ = steady::now();
  std::uint64_t beats_ = 0;
};

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw bad_argument("", "--socket " + path + " is longer than a Unix socket's path may be (107 bytes)",
                       "Choose a shorter path.");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool connects(const std::string& path, fd& socket) {
  const sockaddr_un address = address_of(path);
  socket = fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void standalone::listen() {
  const std::string& path = options_.socket;
  const sockaddr_un address = address_of(path);
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) ::mkdir(path.substr(0, slash).c_str(), 0755);
  fd other;
  if (connects(path, other))
    throw failed("conflict", "already_running", "another agent serves " + path, "End it, or choose another --socket.");
  struct stat st {};
  // Only a dead socket is taken away, never a file.
  if (::lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) ::unlink(path.c_str());
  fd made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::umask(0177);  // for its user alone
  const int bound = ::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_errno = errno;
  ::umask(022);
  if (bound != 0 || ::listen(made.get(), 16) != 0)
    throw os_failure(bound != 0 ? bind_errno : errno, "listen on " + path,
                     "Choose another --socket, or make its folder.");
  listener_ = std::move(made);
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_all(); });
  log_line(log_level::info, "serving on " + path);
}

void standalone::accept_all() {
  for (;;) {
    fd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted) return;
    if (clients_.size() >= max_clients) continue;
    auto c = std::make_shared<client>();
    c->socket = std::move(accepted);
    clients_[c.get()] = c;
    loop_.add(c->socket.get(), EPOLLIN, [this, weak = std::weak_ptr(c)](std::uint32_t events) {
      if (const auto held = weak.lock()) on_ready(held, events);
    });
  }
}

void standalone::on_ready(const std::shared_ptr<client>& c, std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush(c);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || !c->socket) return;
  char piece[4096];
  const ssize_t n = ::read(c->socket.get(), piece, sizeof piece);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return drop(c);
  c->in.append(piece, static_cast<std::size_t>(n));
  for (std::size_t end = 0; c->socket && (end = c->in.find('\n')) != std::string::npos;) {
    const std::string line = c->in.substr(0, end);
    c->in.erase(0, end + 1);
    if (line.find_first_not_of(" \t\r") != std::string::npos) on_line(c, line);
  }
  if (c->in.size() > max_line) drop(c);
}

void standalone::on_line(const std::shared_ptr<client>& c, const std::string& line) {
  const auto message = wire::parse(line);
  const auto refuse = [&](const char* reason, std::string text) {
    json payload{{"code", "invalid_argument"},
                 {"reason", reason},
                 {"action", "Send {\"type\": …} with ping, metrics, subscribe, watch_files or shutdown."}};
    payload["message"] = std::move(text);
    send(c, "error", std::move(payload));
  };
  if (!message || !message->is_object()) return refuse("malformed_json", "a line that is no JSON object");
  const auto type = message->find("type");
  if (type == message->end() || !type->is_string()) return refuse("missing_type", "the message has no type");
  const std::string name = type->get<std::string>();
  if (name == "ping")
    send(c, "pong", json{{"timestamp", unix_seconds()}});
  else if (name == "metrics")
    send(c, "metrics", metrics_.sample());
  else if (name == "subscribe")
    send(c, "subscribed", json::object());
  else if (name == "watch_files")
    watch_files(c);
  else if (name == "shutdown") {
    send(c, "ack", json{{"type", "shutdown"}});
    // The answer is in the socket's buffer; the process ends with this turn of the loop.
    log_line(log_level::info, "shutdown was asked for");
    return shut_down();
  } else {
    return refuse("unknown_type", "there is no message type \"" + name + "\"");
  }
  c->subscribed = true;
}

void standalone::watch_files(const std::shared_ptr<client>& c) {
  json started{{"enabled", false}, {"root", files_.folder()}, {"reason", ""}};
  if (!options_.watch_files) {
    started["reason"] = "watching files is switched off (--watch-files=false)";
    return send(c, "watch_started", std::move(started));
  }
  watch_options how;
  how.debounce = options_.watch_debounce;
  how.rate_limit = options_.watch_rate_limit;
  how.skip_well_known = true;
  try {
    c->watch = std::make_unique<folder_watch>(
        loop_, files_, ".", how,
        [this, weak = std::weak_ptr(c)](std::vector<file_change> changes, std::uint64_t dropped) {
          const auto held = weak.lock();
          if (!held) return;
          held->dropped += dropped;
          std::size_t sent = 0;
          for (const file_change& change : changes) {
            if (++sent > max_subscriber_queue || held->out.size() > max_out / 2) {
              ++held->dropped;
              continue;
            }
            // The reference knows four operations; a change of mode is a write to it.
            const std::string operation = change.operation == "chmod" ? "write" : change.operation;
            json payload{{"operation", operation},
                         {"size", change.size},
                         {"ts_unix_ms", change.ts_unix_ms},
                         {"dropped_since_last", std::exchange(held->dropped, 0)}};
            payload["path"] = change.path;
            send(held, "file_op", std::move(payload));
          }
        });
    started["enabled"] = true;
  } catch (const failed& f) {
    started["reason"] = f.what();
  }
  send(c, "watch_started", std::move(started));
}

void standalone::send(const std::shared_ptr<client>& c, const char* type, json payload) {
  if (!c->socket) return;
  json message{{"type", type}};
  message["payload"] = std::move(payload);
  c->out += wire::to_text(message) + "\n";
  flush(c);
}

void standalone::flush(const std::shared_ptr<client>& c) {
  if (!c->socket) return;
  const ssize_t n = ::send(c->socket.get(), c->out.data(), c->out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n > 0) c->out.erase(0, static_cast<std::size_t>(n));
  // A reader that has stopped reading is not waited for; it is dropped on the loop, not in the middle of a push.
  if (c->out.size() > max_out && !c->closing) {
    c->closing = true;
    loop_.post([this, c] { drop(c); });
  }
  loop_.change(c->socket.get(), EPOLLIN | (c->out.empty() ? 0u : static_cast<unsigned>(EPOLLOUT)));
}

void standalone::drop(const std::shared_ptr<client>& c) {
  if (!c->socket) return;
  loop_.remove(c->socket.get());
  c->socket.reset();
  const auto keep = c;
  clients_.erase(keep.get());
  // Its watch may be the caller.
  loop_.post([keep] { keep->watch.reset(); });
}

void standalone::push(const char* type, const json& payload) {
  const auto all = clients_;
  for (const auto& [key, c] : all)
    if (c->subscribed) send(c, type, payload);
}

void standalone::heartbeat() {
  const auto uptime = std::chrono::duration_cast<std::chrono::milliseconds>(steady::now() - started_).count();
  push("heartbeat", json{{"sequence", ++beats_}, {"uptime_ms", uptime}, {"timestamp", unix_seconds()}});
  loop_.after(options_.heartbeat_interval, [this] { heartbeat(); });
}

void standalone::push_metrics() {
  push("metrics", metrics_.sample());
  loop_.after(options_.metrics_interval, [this] { push_metrics(); });
}

// --subscribe: asks a running agent for its change stream and copies it to stdout until either side ends.
int relay(const std::string& path) {
  fd socket;
  if (!connects(path, socket))
    throw os_failure(errno, "connect to " + path, "Start caged-agent with the same --socket first.");
  constexpr std::string_view ask = "{\"type\":\"watch_files\"}\n";
  if (::write(socket.get(), ask.data(), ask.size()) < 0) throw os_failure(errno, "ask for the changes");
  char piece[16384];
  for (ssize_t n = 0; (n = ::read(socket.get(), piece, sizeof piece)) > 0;)
    if (::write(STDOUT_FILENO, piece, static_cast<std::size_t>(n)) < 0) break;
  return 0;
}

}  // namespace

int run_standalone(const options& o, fd signals) {
  if (o.subscribe) {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_UNBLOCK, &all, nullptr);
    return relay(o.socket);
  }
  loop events;
  standalone agent(o, events);
  agent.listen();
  agent.start_pushing();
  events.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) agent.shut_down();
    // As the first process of a box it inherits orphans.
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  });
  events.run();
  return 0;
}

}  // namespace caged::agent
