#include <core/cli/terminal.hpp>

#include <core/cli/render.hpp>
#include <core/cli/session.hpp>

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <charconv>

namespace caged::cli {

window_size terminal_size() {
  for (const int fd : {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) return {size.ws_row, size.ws_col};
  }
  return {};
}

raw_mode::raw_mode() {
  if (::isatty(STDIN_FILENO) != 1 || ::tcgetattr(STDIN_FILENO, &saved_) != 0) return;
  termios raw = saved_;
  ::cfmakeraw(&raw);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0) active_ = true;
}

raw_mode::~raw_mode() { restore(); }

void raw_mode::restore() noexcept {
  if (active_.exchange(false)) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_);
}

progress::progress(std::string what) : what_(std::move(what)) {
  const char* term = std::getenv("TERM");
  const bool dumb = term != nullptr && std::string_view(term) == "dumb";
  if (::isatty(STDERR_FILENO) == 1 && !dumb) thread_ = std::thread([this] { draw(); });
}

progress::~progress() { stop(); }

void progress::say(std::string what) {
  const std::lock_guard lock(mutex_);
  what_ = std::move(what);
}

void progress::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void progress::draw() {
  using namespace std::chrono;
  static constexpr const char* frames[] = {"|", "/", "-", "\\"};
  const auto start = steady_clock::now();
  std::unique_lock lock(mutex_);
  if (wake_.wait_for(lock, seconds(1), [this] { return stopped_; })) return;
  for (std::size_t frame = 0; !stopped_; ++frame) {
    const auto elapsed = duration_cast<milliseconds>(steady_clock::now() - start);
    std::string line = std::string(frames[frame % 4]) + " " + printable(what_) + " (" + human_duration(elapsed) + ")";
    const auto width = static_cast<std::size_t>(terminal_size().cols);
    if (display_width(line) >= width) line = line.substr(0, width > 1 ? width - 1 : 1);
    write_all(STDERR_FILENO, "\r\x1b[K" + line);
    drawn_ = true;
    wake_.wait_for(lock, milliseconds(120), [this] { return stopped_; });
  }
  if (drawn_) write_all(STDERR_FILENO, "\r\x1b[K");
}

signal_watch::signal_watch(handler on_signal) : handler_(std::move(on_signal)) {
  ::sigemptyset(&watched_);
  for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}) ::sigaddset(&watched_, s);
  ::pthread_sigmask(SIG_BLOCK, &watched_, &before_);
  signals_ = ::signalfd(-1, &watched_, SFD_CLOEXEC | SFD_NONBLOCK);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { run(); });
}

signal_watch::~signal_watch() {
  ::eventfd_write(stop_, 1);
  thread_.join();
  ::close(signals_);
  ::close(stop_);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void signal_watch::hand_to(handler on_signal) {
  const std::lock_guard lock(mutex_);
  handler_ = std::move(on_signal);
}

void signal_watch::run() {
  for (;;) {
    pollfd waiting[] = {{signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0) return;
    signalfd_siginfo info{};
    while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      const std::lock_guard lock(mutex_);
      if (handler_) handler_(static_cast<int>(info.ssi_signo));
    }
  }
}

event_flag::event_flag() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
event_flag::~event_flag() { ::close(fd_); }
void event_flag::set() noexcept { ::eventfd_write(fd_, 1); }
void event_flag::clear() noexcept {
  eventfd_t ignored = 0;
  ::eventfd_read(fd_, &ignored);
}
bool event_flag::is_set() const noexcept {
  pollfd p{fd_, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

std::string signal_name(int number) {
  const char* name = number > 0 ? ::sigabbrev_np(number) : nullptr;
  return name == nullptr ? std::string() : "SIG" + std::string(name);
}

int signal_number(std::string_view name) {
  int number = 0;
  const auto [stop, bad] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (bad == std::errc{} && stop == name.data() + name.size()) return number > 0 && number < 65 ? number : 0;
  if (name.substr(0, 3) == "SIG") name.remove_prefix(3);
  for (int n = 1; n < 32; ++n) {
    const char* known = ::sigabbrev_np(n);
    if (known != nullptr && name == known) return n;
  }
  return 0;
}

}  // namespace caged::cli
