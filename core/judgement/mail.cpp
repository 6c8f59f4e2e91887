#include "core/judgement/mail.hpp"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <caged/base64.hpp>
#include <caged/owned_fd.hpp>
#include <ctime>
#include <memory>

#include "core/base/file.hpp"

namespace caged::judgement {
namespace {

constexpr int step_ms = 10'000;
constexpr std::size_t longest_answer = 64 * 1024;

error broken(const std::string& what) {
  return fail(errc::unavailable, "mail_failed", what, "Check `mail` in the configuration, and the mail server.");
}

struct free_tls {
  void operator()(SSL* s) const { SSL_free(s); }
  void operator()(SSL_CTX* c) const { SSL_CTX_free(c); }
};

// A connection that is plain first and may become TLS.
class connection {
 public:
  result<void> open(const std::string& host, const std::string& port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int bad = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); bad != 0)
      return broken("the mail server " + host + " was not found: " + gai_strerror(bad));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, &freeaddrinfo);
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
      owned_fd fd(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (fd.get() < 0) continue;
      if (::connect(fd.get(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) continue;
      pollfd wait{fd.get(), POLLOUT, 0};
      int bad = 0;
      socklen_t size = sizeof bad;
      if (::poll(&wait, 1, step_ms) != 1 || getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &bad, &size) != 0 || bad != 0)
        continue;
      fd_ = std::move(fd);
      return {};
    }
    return broken("nothing answers at " + host + ":" + port);
  }

  result<void> secure(const std::string& host) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_default_verify_paths(context_.get());
    tls_.reset(SSL_new(context_.get()));
    SSL_set_verify(tls_.get(), SSL_VERIFY_PEER, nullptr);
    SSL_set1_host(tls_.get(), host.c_str());
    SSL_set_tlsext_host_name(tls_.get(), host.c_str());
    SSL_set_fd(tls_.get(), fd_.get());
    while (true) {
      const int done = SSL_connect(tls_.get());
      if (done == 1) break;
      if (!wait_tls(done)) {
        const long verdict = SSL_get_verify_result(tls_.get());
        return broken("TLS with the mail server failed" +
                      (verdict == X509_V_OK ? std::string() : std::string(": ") + X509_verify_cert_error_string(verdict)));
      }
    }
    read_.clear();  // what came before is not of this connection
    return {};
  }

  result<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = tls_ ? SSL_write(tls_.get(), bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 16384)))
                          : static_cast<int>(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
      if (n > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
      } else if (!(tls_ ? wait_tls(n) : wait_plain(POLLOUT))) {
        return broken("the mail server took no more");
      }
    }
    return {};
  }

  // The last line of an answer: "250 OK".
  result<std::string> answer() {
    while (true) {
      for (std::size_t end; (end = read_.find('\n')) != std::string::npos;) {
        std::string line = read_.substr(0, end);
        read_.erase(0, end + 1);
        while (!line.empty() && line.back() == '\r') line.pop_back();
        if (line.size() >= 4 && line[3] == '-') {
          said_ += line.substr(4) + "\n";
          continue;
        }
        return line;
      }
      if (read_.size() > longest_answer) return broken("the mail server's answer does not end");
      char piece[4096];
      const auto n = tls_ ? SSL_read(tls_.get(), piece, sizeof piece) : static_cast<int>(::recv(fd_.get(), piece, sizeof piece, 0));
      if (n > 0) {
        read_.append(piece, static_cast<std::size_t>(n));
      } else if ((n == 0 && !tls_) || !(tls_ ? wait_tls(n) : wait_plain(POLLIN))) {
        return broken("the mail server fell silent");
      }
    }
  }

  // Sends a line and expects an answer that begins with `wanted`.
  result<void> say(const std::string& line, char wanted, const char* shown) {
    said_.clear();
    if (auto sent = write(line); !sent) return sent.error();
    auto heard = answer();
    if (!heard) return heard.error();
    if (!heard->empty() && heard->front() == wanted) {
      said_ += heard->size() > 4 ? heard->substr(4) : "";
      return {};
    }
    return broken(std::string("the mail server refused ") + shown + ": " + heard->substr(0, 200));
  }
  bool offers(std::string_view word) const { return ("\n" + said_).find("\n" + std::string(word)) != std::string::npos; }

 private:
  bool wait_plain(short what) {
    if (errno != EAGAIN && errno != EINTR) return false;
    pollfd wait{fd_.get(), what, 0};
    return ::poll(&wait, 1, step_ms) == 1;
  }
  bool wait_tls(int outcome) {
    const int why = SSL_get_error(tls_.get(), outcome);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return false;
    pollfd wait{fd_.get(), static_cast<short>(why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    return ::poll(&wait, 1, step_ms) == 1;
  }

  owned_fd fd_;
  std::unique_ptr<SSL_CTX, free_tls> context_;
  std::unique_ptr<SSL, free_tls> tls_;
  std::string read_, said_;
};

bool is_local(const std::string& host) { return host == "localhost" || host.starts_with("127.") || host == "::1"; }

result<void> log_in(connection& c, const mail_server& server, const std::string& host) {
  if (server.user.empty()) return {};
  if (server.tls == "none" && !is_local(host)) return broken("a password is not sent without TLS");
  auto password = base::read_file(server.password_file, 4096);
  if (!password) return password.error();
  std::string plain = std::string(1, '\0') + server.user + std::string(1, '\0') + password->substr(0, password->find('\n'));
  return c.say("AUTH PLAIN " + base64_encode(plain) + "\r\n", '2', "the password");
}

}  // namespace

bool is_mail_address(const std::string& text) {
  const auto at = text.find('@');
  if (at == 0 || at == std::string::npos || at + 1 == text.size() || text.find('@', at + 1) != std::string::npos) return false;
  if (text.size() > 254) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f && std::string_view("<>()[],;:\\\"").find(static_cast<char>(c)) == std::string_view::npos;
  });
}

std::string mail_message(const mail_server& server, const mail& m) {
  char date[64];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &parts);
  std::string out = "From: Caged <" + server.from + ">\r\nTo: <" + m.to + ">\r\nDate: " + date + "\r\n";
  out += "Message-ID: <" + m.id + "@" + server.from.substr(server.from.find('@') + 1) + ">\r\n";
  // Words of at most 45 bytes: what a sandbox chose can be no header, and no line is too long.
  out += "Subject:";
  for (std::size_t i = 0; i < std::min<std::size_t>(m.subject.size(), 450); i += 45)
    out += (i == 0 ? " =?UTF-8?B?" : "\r\n =?UTF-8?B?") + base64_encode(m.subject.substr(i, 45)) + "?=";
  out += "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n";
  out += "Auto-Submitted: auto-generated\r\n\r\n";
  const std::string body = base64_encode(m.text);
  for (std::size_t i = 0; i < body.size(); i += 76) out += body.substr(i, 76) + "\r\n";
  return out;
}

result<void> send_mail(const mail_server& server, const mail& m) {
  const auto colon = server.address.rfind(':');
  if (colon == std::string::npos) return broken("no mail server is configured");
  std::string host = server.address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  connection c;
  if (auto ok = c.open(host, server.address.substr(colon + 1)); !ok) return ok.error();
  if (server.tls == "tls")
    if (auto ok = c.secure(host); !ok) return ok.error();
  if (auto ok = c.say("", '2', "the connection"); !ok) return ok.error();
  const std::string hello = "EHLO caged.invalid\r\n";
  if (auto ok = c.say(hello, '2', "the greeting"); !ok) return ok.error();
  if (server.tls == "starttls") {
    if (!c.offers("STARTTLS")) return broken("the mail server offers no STARTTLS");
    if (auto ok = c.say("STARTTLS\r\n", '2', "STARTTLS"); !ok) return ok.error();
    if (auto ok = c.secure(host); !ok) return ok.error();
    if (auto ok = c.say(hello, '2', "the greeting"); !ok) return ok.error();
  }
  if (auto ok = log_in(c, server, host); !ok) return ok.error();
  if (auto ok = c.say("MAIL FROM:<" + server.from + ">\r\n", '2', "the sender"); !ok) return ok.error();
  if (auto ok = c.say("RCPT TO:<" + m.to + ">\r\n", '2', "the recipient"); !ok) return ok.error();
  if (auto ok = c.say("DATA\r\n", '3', "the message"); !ok) return ok.error();
  // Base64 and headers of ours: no line begins with a dot.
  if (auto ok = c.say(mail_message(server, m) + ".\r\n", '2', "the message"); !ok) return ok.error();
  (void)c.write("QUIT\r\n");
  return {};
}

}  // namespace caged::judgement
