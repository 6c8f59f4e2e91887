#include "launcher/relay.hpp"

#include <caged/wire/bundle.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace caged::vmm::qemu {
namespace {

constexpr std::size_t most_notes = 1u << 20;
constexpr std::size_t most_owed = 16u << 20;
constexpr std::size_t most_log = 4096;

void unblock(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// What the machine sends is hostile: lengths and credits are the bundle's business, and a stream holds at most its
// window.
class relay final : private wire::bundle_events {
 public:
  explicit relay(const relay_ends& ends) : ends_(ends) {
    for (const int fd : {ends.port, ends.agent, ends.control, ends.log}) unblock(fd);
  }
  ~relay() override {
    for (const auto& [number, l] : lines_) ::close(l.fd);
    if (host_ >= 0) ::close(host_);
  }

  std::string run() {
    while (turn()) {
    }
    read_log();
    return log_;
  }

 private:
  struct line {
    int fd = -1;
    std::string waiting;
    bool over = false;  // the machine closed it; what waits still goes out
  };

  // ---- what the machine says

  void opened(std::uint32_t stream) override { bundle_.close(stream); }  // only the host opens
  void data(std::uint32_t stream, std::string_view bytes) override {
    const auto found = lines_.find(stream);
    if (found != lines_.end()) found->second.waiting.append(bytes);
  }
  void closed(std::uint32_t stream) override {
    const auto found = lines_.find(stream);
    if (found != lines_.end()) found->second.over = true;
  }
  void writable() override {}
  void held() override {
    if (notes_.size() < most_notes) wire::append_frame(notes_, wire::frame_kind::end, 0, {});
  }
  void message(const std::string& text) override {
    // Its word that it goes on: before that nothing may be sent.
    if (text.rfind("{\"going\"", 0) == 0) resume();
    if (notes_.size() < most_notes) wire::append_message(notes_, 0, text);
  }

  void resume() {
    held_ = false;
    bundle_.go_on();
  }

  // ---- what the host says

  void on_host() {
    const auto room = from_host_.prepare();
    const ssize_t n = ::read(host_, room.data(), room.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) from_host_.commit(static_cast<std::size_t>(n));
    wire::frame f;
    auto status = wire::decoder::status::need_more;
    while (n > 0 && (status = from_host_.next(f)) == wire::decoder::status::ready) {
      if (f.kind == wire::frame_kind::end && !held_) {
        bundle_.hold();
        held_ = true;
        allowed_ = bundle_.out().size();
      } else if (f.kind == wire::frame_kind::message) {
        // The word to go on passes what is held back.
        std::string word;
        wire::append_message(word, 0, f.payload);
        bundle_.out().insert(allowed_, word);
        allowed_ += word.size();
      }
    }
    if (n > 0 && status != wire::decoder::status::broken) return;
    ::close(host_);
    host_ = -1;
  }

  void accept_host() {
    const int fd = ::accept4(ends_.control, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (host_ >= 0) ::close(host_);  // a new host comes after the death of the old one
    host_ = fd;
    from_host_ = wire::decoder();
  }

  void accept_line() {
    const int fd = ::accept4(ends_.agent, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const std::uint32_t number = bundle_.open();
    if (number == 0)
      ::close(fd);
    else
      lines_[number].fd = fd;
  }

  // ---- the loop

  void on_line(std::uint32_t number, line& l, short events) {
    if (!l.waiting.empty()) {
      const ssize_t n = ::send(l.fd, l.waiting.data(), l.waiting.size(), MSG_NOSIGNAL);
      if (n > 0) {
        l.waiting.erase(0, static_cast<std::size_t>(n));
        bundle_.consumed(number, static_cast<std::size_t>(n));
      } else if (errno != EAGAIN && errno != EINTR) {
        return drop(number);
      }
    }
    if (l.over && l.waiting.empty()) return drop(number);
    if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) return;
    char piece[64u << 10];
    const std::size_t room = std::min(bundle_.room(number), sizeof piece);
    if (room == 0) return;
    const ssize_t n = ::read(l.fd, piece, room);
    if (n > 0) bundle_.send(number, std::string_view(piece, static_cast<std::size_t>(n)));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) drop(number);
  }

  void drop(std::uint32_t number) {
    bundle_.close(number);
    const auto found = lines_.find(number);
    ::close(found->second.fd);
    lines_.erase(found);
  }

  // All is read and the beginning kept: QEMU must neither fill a disk nor wait for a reader.
  void read_log() {
    char piece[4096];
    for (int i = 0; i < 16 && !log_over_; ++i) {
      const ssize_t n = ::read(ends_.log, piece, sizeof piece);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n <= 0) log_over_ = true;
      if (n > 0) log_.append(piece, std::min(static_cast<std::size_t>(n), most_log - std::min(log_.size(), most_log)));
    }
  }

  bool read_port() {
    for (int i = 0; i < 8; ++i) {
      const auto room = bundle_.prepare();
      const ssize_t n = ::read(ends_.port, room.data(), room.size());
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      if (n == 0 || !bundle_.took(static_cast<std::size_t>(n))) return false;
      if (bundle_.out().size() > most_owed) return false;  // it asks for answers and does not read them
      if (static_cast<std::size_t>(n) < room.size()) return true;
    }
    return true;
  }

  bool write_port() {
    std::string& out = bundle_.out();
    const std::size_t most = held_ ? allowed_ : out.size();
    if (most == 0) return true;
    const ssize_t n = ::send(ends_.port, out.data(), most, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    out.erase(0, static_cast<std::size_t>(n));
    if (held_) allowed_ -= static_cast<std::size_t>(n);
    return true;
  }

  bool turn() {
    polled_.clear();
    const bool sending = held_ ? allowed_ > 0 : !bundle_.out().empty();
    add(ends_.machine, POLLIN);
    add(ends_.port, static_cast<short>(POLLIN | (sending ? POLLOUT : 0)));
    add(ends_.control, POLLIN);
    add(held_ ? -1 : ends_.agent, POLLIN);
    add(host_, static_cast<short>(POLLIN | (notes_.empty() ? 0 : POLLOUT)));
    add(log_over_ ? -1 : ends_.log, POLLIN);
    numbers_.clear();
    for (const auto& [number, l] : lines_) {
      const bool listens = !held_ && !l.over && bundle_.room(number) > 0;
      const bool speaks = !l.waiting.empty() || l.over;
      numbers_.push_back(number);
      // One that neither listens nor speaks is left out: its hang-up would be reported again and again.
      add(listens || speaks ? l.fd : -1, static_cast<short>((listens ? POLLIN : 0) | (speaks ? POLLOUT : 0)));
    }
    if (::poll(polled_.data(), polled_.size(), -1) < 0) return errno == EINTR;
    if (polled_[0].revents != 0) return false;
    if ((polled_[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !read_port()) return false;
    if (polled_[5].revents != 0) read_log();
    if (polled_[4].revents != 0) on_host();
    if (polled_[2].revents != 0) accept_host();
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      const auto found = lines_.find(numbers_[i]);
      if (found != lines_.end() && polled_[6 + i].revents != 0) on_line(numbers_[i], found->second, polled_[6 + i].revents);
    }
    if (polled_[3].revents != 0 && !held_) accept_line();
    if (host_ >= 0 && !notes_.empty()) {
      const ssize_t n = ::send(host_, notes_.data(), notes_.size(), MSG_NOSIGNAL);
      if (n > 0) notes_.erase(0, static_cast<std::size_t>(n));
    }
    return write_port();
  }

  void add(int fd, short events) { polled_.push_back({fd, events, 0}); }

  const relay_ends ends_;
  wire::bundle bundle_{*this};
  std::map<std::uint32_t, line> lines_;
  int host_ = -1;
  wire::decoder from_host_;
  std::string notes_;  // for the host
  // A machine begins held. Of what is to be sent to a held machine only the first `allowed_` bytes may go.
  bool held_ = true;
  std::size_t allowed_ = 0;
  std::string log_;
  bool log_over_ = false;
  std::vector<pollfd> polled_;
  std::vector<std::uint32_t> numbers_;
};

}  // namespace

std::string run_relay(const relay_ends& ends) { return relay(ends).run(); }

}  // namespace caged::vmm::qemu
