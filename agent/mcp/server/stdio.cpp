#include "mcp/server/stdio.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace caged::mcp {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_line = 16u << 20;
constexpr std::size_t max_unsent = 8u << 20;  // more than this unread by the client, and nothing more is read from it
constexpr std::size_t read_piece = 64u << 10;
// What was asked before the input ended is still answered when it takes no longer than this.
constexpr auto last_answers = 500ms;

class stdio_pipe : public outlet, public std::enable_shared_from_this<stdio_pipe> {
 public:
  stdio_pipe(agent::loop& l, workspace& tools, identity who)
      : loop_(l), tools_(tools), dialog_(dialog::make(tools, std::move(who))) {}

  void begin() {
    open_output();
    try {
      loop_.add(STDIN_FILENO, EPOLLIN, [this](std::uint32_t) { read_some(); });
      watched_ = true;
    } catch (const wire::failed&) {
      // A file is always ready and cannot be watched.
      read_again();
    }
  }

  void send(std::string text, kind, int) override {
    if (lost_) return;
    out_ += text;
    out_ += '\n';
    if (!corked_) flush();
  }

  void end() {
    dialog_->close();
    loop_.stop();
  }

  // Whatever is still to be written, for at most a second.
  void drain() {
    const auto until = agent::steady::now() + 1s;
    while (!lost_ && done_ < out_.size() && agent::steady::now() < until) {
      pollfd p{output_.get(), POLLOUT, 0};
      if (::poll(&p, 1, 100) > 0) flush();
    }
  }

 private:
  // The descriptor is shared with whoever started this program, so its flags are not ours to change: a socket is sent
  // to without waiting, a pipe is opened a second time.
  void open_output() {
    struct stat st {};
    ::fstat(STDOUT_FILENO, &st);
    socket_ = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
      output_ = agent::fd(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    if (!output_) output_ = agent::fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  }

  void read_again() {
    loop_.post([self = shared_from_this()] {
      if (self->ended_) return;
      self->read_some();
      self->read_again();
    });
  }

  void read_some() {
    static char piece[read_piece];
    const ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    corked_ = true;
    if (n > 0)
      take(std::string_view(piece, static_cast<std::size_t>(n)));
    else
      input_ended();
    corked_ = false;
    flush();
  }

  void take(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t newline = bytes.find('\n');
      const std::string_view part = bytes.substr(0, newline);
      if (!skipping_ && in_.size() + part.size() > max_line) {
        skipping_ = true;
        in_ = std::string();
        dialog_->refuse("a line of more than 16 MiB", shared_from_this());
      }
      if (newline == std::string_view::npos) {
        if (!skipping_) in_ += part;
        return;
      }
      bytes.remove_prefix(newline + 1);
      if (skipping_) {
        skipping_ = false;
      } else if (in_.empty()) {
        line(part);
      } else {
        in_ += part;
        line(std::exchange(in_, {}));
      }
    }
  }

  void line(std::string_view text) {
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) return;
    dialog_->receive(text, shared_from_this());
  }

  void input_ended() {
    if (ended_) return;
    ended_ = true;
    if (watched_) loop_.remove(STDIN_FILENO);
    if (!in_.empty()) line(std::exchange(in_, {}));
    until_ = agent::steady::now() + last_answers;
    await_answers();
  }

  void await_answers() {
    flush();
    if (dialog_->working() == 0 || lost_ || agent::steady::now() > until_) return end();
    loop_.after(2ms, [self = shared_from_this()] { self->await_answers(); });
  }

  void flush() {
    while (done_ < out_.size()) {
      const char* from = out_.data() + done_;
      const std::size_t size = out_.size() - done_;
      const ssize_t n =
          socket_ ? ::send(output_.get(), from, size, MSG_DONTWAIT | MSG_NOSIGNAL) : ::write(output_.get(), from, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return lose();
      done_ += static_cast<std::size_t>(n);
    }
    if (done_ == out_.size()) {
      out_.clear();
      if (out_.capacity() > (1u << 20)) out_.shrink_to_fit();
      done_ = 0;
    } else if (done_ > (1u << 20)) {
      out_.erase(0, done_);
      done_ = 0;
    }
    update_interest();
  }

  void update_interest() {
    const bool waiting = done_ < out_.size();
    if (waiting != writing_) {
      writing_ = waiting;
      if (waiting)
        loop_.add(output_.get(), EPOLLOUT, [this](std::uint32_t) { flush(); });
      else
        loop_.remove(output_.get());
    }
    // A client that does not read is not served further until it does.
    const bool pause = out_.size() - done_ > max_unsent;
    if (watched_ && !ended_ && pause != paused_)
      loop_.change(STDIN_FILENO, pause ? 0u : static_cast<unsigned>(EPOLLIN));
    paused_ = pause;
  }

  void lose() {
    lost_ = true;
    out_.clear();
    done_ = 0;
    end();
  }

  agent::loop& loop_;
  workspace& tools_;
  std::shared_ptr<dialog> dialog_;
  agent::fd output_;
  std::string in_, out_;
  std::size_t done_ = 0;
  agent::steady::time_point until_;
  bool socket_ = false, watched_ = false, corked_ = false, skipping_ = false, ended_ = false, writing_ = false,
       paused_ = false, lost_ = false;
};

}  // namespace

void run_stdio(agent::loop& l, workspace& tools, identity who, agent::fd signals) {
  const auto pipe = std::make_shared<stdio_pipe>(l, tools, std::move(who));
  l.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
    signalfd_siginfo info{};
    bool child = false;
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD)
        child = true;
      else
        pipe->end();
    }
    if (child) tools.on_child_signal();
  });
  pipe->begin();
  l.run();
  pipe->drain();
  tools.kill_all();
}

}  // namespace caged::mcp
