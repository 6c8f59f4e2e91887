#include "client_channel.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "head.hpp"

namespace caged::http {
namespace {

using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

error no_server(const std::string& url, const std::string& why) {
  return fail(errc::unavailable, "no_server", "there is no server at " + url + ": " + why,
              "Start one with `caged serve`, or point CAGED_API_URL at a running one.");
}

error broken(int err) {
  return fail(errc::unavailable, "connection_lost",
              std::string("the connection to the server broke: ") + std::strerror(err),
              "Look whether the server still runs, and try again.");
}

error bad_url(std::string_view url, const std::string& why) {
  return fail(errc::invalid_argument, "bad_url", "\"" + std::string(url) + "\" is no address of a server: " + why,
              "Give http://HOST:PORT, https://HOST or unix:///PATH.");
}

int open_local(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  const int err = errno;
  ::close(fd);
  return errno = err, -1;
}

// Starts to connect; the caller waits for the socket to become writable.
int open_tcp(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0 || errno == EINPROGRESS) return fd;
  const int err = errno;
  ::close(fd);
  return errno = err, -1;
}

}  // namespace

result<client_target> parse_base_url(std::string_view url) {
  client_target to;
  const auto after = [&url](std::string_view scheme) {
    if (!url.starts_with(scheme)) return false;
    url.remove_prefix(scheme.size());
    return true;
  };
  const std::string_view whole = url;
  if (after("unix://")) {
    if (!url.starts_with('/')) return bad_url(whole, "the path of the socket must be absolute");
    to.how = client_target::kind::local;
    to.host = url;
    to.authority = "localhost";
    return to;
  }
  if (after("http://"))
    to.how = client_target::kind::tcp;
  else if (after("https://"))
    to.how = client_target::kind::tls;
  else
    return bad_url(whole, "it begins with none of http://, https:// and unix://");
  const auto slash = std::min(url.find_first_of("/?#"), url.size());
  const auto authority = url.substr(0, slash);
  std::string_view prefix = url.substr(slash);
  if (prefix.find_first_of("?# ") != std::string_view::npos)
    return bad_url(whole, "it may not have a query or a fragment");
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  const auto host = host_of(authority);
  if (!host) return bad_url(whole, "\"" + std::string(authority) + "\" is no host name with an optional port");
  to.host = *host;
  const auto colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  to.port = has_port ? std::string(authority.substr(colon + 1)) : to.how == client_target::kind::tls ? "443" : "80";
  to.authority = authority;
  to.prefix = prefix;
  return to;
}

result<std::unique_ptr<channel>> channel::connect(const client_target& to, const client_options& options) {
  if (to.how == client_target::kind::local) {
    const int fd = open_local(to.host);
    if (fd < 0) return no_server(options.base_url, std::strerror(errno));
    return std::unique_ptr<channel>(new channel(fd, options.cancel_fd));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int rc = getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &list); rc != 0)
    return no_server(options.base_url, gai_strerror(rc));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  std::string why = "no address";
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    const int fd = open_tcp(*one);
    if (fd < 0) {
      why = std::strerror(errno);
      continue;
    }
    std::unique_ptr<channel> made(new channel(fd, options.cancel_fd));
    if (const auto waited = made->wait(POLLOUT, options.connect_timeout); waited.has_error()) {
      if (waited.error().code == errc::cancelled) return waited.error();
      why = "it did not answer within " + std::to_string(options.connect_timeout.count()) + " ms";
      continue;
    }
    int err = 0;
    socklen_t size = sizeof err;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size);
    if (err != 0) {
      why = std::strerror(err);
      continue;
    }
    if (to.how == client_target::kind::tls)
      if (const auto started = made->start_tls(to, options); started.has_error()) return started.error();
    return made;
  }
  return no_server(options.base_url, why);
}

result<void> channel::start_tls(const client_target& to, const client_options& options) {
  // OpenSSL writes without MSG_NOSIGNAL; a program that never chose a disposition would die of a lost connection.
  struct sigaction now {};
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
  context_ = SSL_CTX_new(TLS_client_method());
  const bool trusted = context_ != nullptr && SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION) == 1 &&
                       (options.ca_file.empty() ? SSL_CTX_set_default_verify_paths(context_)
                                                : SSL_CTX_load_verify_file(context_, options.ca_file.c_str())) == 1;
  if (!trusted)
    return fail(errc::invalid_argument, "tls_setup", "the trusted certificates cannot be read: " + options.ca_file,
                "Give a file of PEM certificates.");
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  ssl_ = SSL_new(context_);
  SSL_set_fd(ssl_, fd_);
  SSL_set_tlsext_host_name(ssl_, to.host.c_str());
  SSL_set1_host(ssl_, to.host.c_str());
  const auto deadline = steady::now() + options.connect_timeout;
  while (true) {
    const int rc = SSL_connect(ssl_);
    if (rc == 1) return {};
    const int kind = SSL_get_error(ssl_, rc);
    if (kind != SSL_ERROR_WANT_READ && kind != SSL_ERROR_WANT_WRITE) {
      const long verdict = SSL_get_verify_result(ssl_);
      std::array<char, 256> text{};
      ERR_error_string_n(ERR_get_error(), text.data(), text.size());
      const std::string why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : text.data();
      return fail(errc::unavailable, "tls_handshake", "no secure connection to " + options.base_url + ": " + why,
                  "Check the address and the server's certificate.");
    }
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady::now());
    const auto waited = wait(kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, std::max(left, milliseconds{1}));
    if (waited.has_error()) return waited.error();
  }
}

channel::~channel() {
  if (ssl_ != nullptr) SSL_free(ssl_);
  if (context_ != nullptr) SSL_CTX_free(context_);
  if (fd_ >= 0) ::close(fd_);
}

void channel::interrupt() noexcept {
  interrupted_.store(true);
  shutdown(fd_, SHUT_RDWR);
}

bool channel::readable() const noexcept {
  pollfd one{fd_, POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

result<void> channel::wait(short events, ms longest) const {
  const auto deadline = steady::now() + longest;
  while (true) {
    std::array<pollfd, 2> set{{{fd_, events, 0}, {cancel_fd_, POLLIN, 0}}};
    int timeout = -1;
    if (longest.count() > 0) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - steady::now()).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    }
    const int n = poll(set.data(), set.size(), timeout);
    if (n < 0 && errno != EINTR) return broken(errno);
    if (set[1].revents != 0 || interrupted_) return fail(errc::cancelled, "cancelled", "the call was cancelled", "");
    if (n > 0 && set[0].revents != 0) return {};
    if (longest.count() > 0 && steady::now() >= deadline)
      return fail(errc::deadline_exceeded, "server_silent",
                  "the server said nothing for " + std::to_string(longest.count()) + " ms",
                  "Look at the server's log, or give it more time.");
  }
}

std::ptrdiff_t channel::try_read(std::span<char> into, short& events) {
  events = POLLIN;
  if (ssl_ == nullptr) return recv(fd_, into.data(), into.size(), 0);
  const std::lock_guard guard(ssl_lock_);
  ERR_clear_error();
  const int n = SSL_read(ssl_, into.data(), static_cast<int>(std::min<std::size_t>(into.size(), 1 << 20)));
  if (n > 0) return n;
  switch (SSL_get_error(ssl_, n)) {
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_WANT_WRITE:
      events = POLLOUT;
      [[fallthrough]];
    case SSL_ERROR_WANT_READ:
      errno = EAGAIN;
      return -1;
    default:
      errno = ECONNRESET;
      return -1;
  }
}

std::ptrdiff_t channel::try_write(std::string_view bytes, short& events) {
  events = POLLOUT;
  if (ssl_ == nullptr) return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  const std::lock_guard guard(ssl_lock_);
  ERR_clear_error();
  const int n = SSL_write(ssl_, bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20)));
  if (n > 0) return n;
  switch (SSL_get_error(ssl_, n)) {
    case SSL_ERROR_WANT_READ:
      events = POLLIN;
      [[fallthrough]];
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    default:
      errno = ECONNRESET;
      return -1;
  }
}

result<std::size_t> channel::read(std::span<char> into, ms longest) {
  while (true) {
    short events = POLLIN;
    const auto n = try_read(into, events);
    if (interrupted_) return fail(errc::cancelled, "cancelled", "the call was cancelled", "");
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return broken(errno);
    if (const auto waited = wait(events, longest); waited.has_error()) return waited.error();
  }
}

result<void> channel::write(std::string_view bytes, ms longest) {
  while (!bytes.empty()) {
    short events = POLLOUT;
    const auto n = try_write(bytes, events);
    if (interrupted_) return fail(errc::cancelled, "cancelled", "the call was cancelled", "");
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return broken(errno);
    if (const auto waited = wait(events, longest); waited.has_error()) return waited.error();
  }
  return {};
}

result<bool> client_link::fill(std::chrono::milliseconds wait) {
  std::array<char, 64 * 1024> piece;
  const auto n = wire->read(piece, wait);
  if (n.has_error()) return n.error();
  in.append(piece.data(), *n);
  return *n > 0;
}

}  // namespace caged::http
