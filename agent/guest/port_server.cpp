#include "guest/port_server.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "log.hpp"

namespace caged::agent {

port_server::port_server(loop& l, fd port, handlers h) : loop_(l), port_(std::move(port)), handlers_(std::move(h)) {
  interest_ = EPOLLIN;
  loop_.add(port_.get(), interest_, [this](std::uint32_t events) { on_port(events); });
  bundle_.message("{\"ready\":true}");
  bundle_.hold();
  flush();
}

port_server::~port_server() {
  for (const auto& [stream, l] : lines_)
    if (l.end && l.interest != 0) loop_.remove(l.end.get());
  loop_.remove(port_.get());
}

void port_server::on_port(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    const auto room = bundle_.prepare();
    const ssize_t n = ::read(port_.get(), room.data(), room.size());
    if (n == 0 || (n > 0 && !bundle_.took(static_cast<std::size_t>(n)))) {
      log_line(log_level::error, n == 0 ? "the host has left the port" : bundle_.problem());
      lost_ = true;
      loop_.change(port_.get(), 0);
      return handlers_.lost();
    }
  }
  flush();
}

void port_server::opened(std::uint32_t stream) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return bundle_.close(stream);
  line& made = lines_[stream];
  made.end.reset(ends[0]);
  watch(stream, made);
  handlers_.serve(fd(ends[1]));
}

void port_server::data(std::uint32_t stream, std::string_view bytes) {
  const auto found = lines_.find(stream);
  if (found == lines_.end()) return;
  line& l = found->second;
  const ssize_t n = l.waiting.empty() ? ::send(l.end.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) : 0;
  const std::size_t sent = n > 0 ? static_cast<std::size_t>(n) : 0;
  bundle_.consumed(stream, sent);
  l.waiting.append(bytes.substr(sent));
  watch(stream, l);
}

void port_server::closed(std::uint32_t stream) { drop_line(stream); }

void port_server::drop_line(std::uint32_t stream) {
  const auto found = lines_.find(stream);
  if (found == lines_.end()) return;
  if (found->second.interest != 0) loop_.remove(found->second.end.get());
  lines_.erase(found);
}

void port_server::on_line(std::uint32_t stream, std::uint32_t events) {
  const auto found = lines_.find(stream);
  if (found == lines_.end()) return;
  line& l = found->second;
  if ((events & EPOLLOUT) != 0 && !l.waiting.empty()) {
    const ssize_t n = ::send(l.end.get(), l.waiting.data(), l.waiting.size(), MSG_NOSIGNAL);
    if (n > 0) {
      l.waiting.erase(0, static_cast<std::size_t>(n));
      bundle_.consumed(stream, static_cast<std::size_t>(n));
    }
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    char piece[32u << 10];
    const std::size_t room = std::min(bundle_.room(stream), sizeof piece);
    const ssize_t n = room == 0 ? -1 : ::read(l.end.get(), piece, room);
    if (n > 0) {
      bundle_.send(stream, std::string_view(piece, static_cast<std::size_t>(n)));
    } else if (room != 0 && (n == 0 || errno != EAGAIN)) {
      bundle_.close(stream);
      drop_line(stream);
      return flush();
    }
  }
  watch(stream, l);
  flush();
}

// A descriptor with nothing to wait for leaves the loop: a hang-up would be reported again and again.
void port_server::watch(std::uint32_t stream, line& l) {
  std::uint32_t want = 0;
  if (!holding_still_) {
    if (bundle_.room(stream) > 0) want |= static_cast<std::uint32_t>(EPOLLIN);
    if (!l.waiting.empty()) want |= static_cast<std::uint32_t>(EPOLLOUT);
  }
  if (want == l.interest) return;
  if (want == 0)
    loop_.remove(l.end.get());
  else if (l.interest == 0)
    loop_.add(l.end.get(), want, [this, stream](std::uint32_t events) { on_line(stream, events); });
  else
    loop_.change(l.end.get(), want);
  l.interest = want;
}

void port_server::watch_lines() {
  for (auto& [stream, l] : lines_) watch(stream, l);
}

void port_server::flush() {
  std::string& out = bundle_.out();
  std::size_t done = 0;
  while (!lost_ && done < out.size()) {
    const ssize_t n = ::write(port_.get(), out.data() + done, out.size() - done);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.erase(0, done);
  if (lost_) return;
  const std::uint32_t want = EPOLLIN | (out.empty() ? 0u : static_cast<std::uint32_t>(EPOLLOUT));
  if (want != interest_) loop_.change(port_.get(), want);
  interest_ = want;
  if (done > 0) watch_lines();
}

void port_server::held() {
  if (holding_still_) return;
  holding_still_ = true;
  handlers_.hold();
  bundle_.hold();
  watch_lines();
}

void port_server::message(const std::string& text) {
  json answer;
  try {
    const auto word = wire::parse(text);
    if (!word || !word->is_object() || !word->contains("go")) return;
    const json& go = word->at("go");
    const bool new_one = !go.is_null();
    // Whoever was connected to the machine this one was copied from is not here.
    if (new_one) {
      while (!lines_.empty()) drop_line(lines_.begin()->first);
      bundle_.forget_streams();
    }
    answer = json{{"going", handlers_.go(go)}};
    bundle_.go_on();
    holding_still_ = false;
    watch_lines();
  } catch (const failed& f) {
    answer = json{{"failed", wire::to_json(f.get())}};
  }
  bundle_.message(wire::to_text(answer));
}

}  // namespace caged::agent
