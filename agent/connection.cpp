#include "connection.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "log.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t out_high = 192u << 10;   // bulk senders pause here
constexpr std::size_t out_low = 64u << 10;     // and go on here
constexpr std::size_t out_full = 16u << 20;    // answers pile up: no further request is read
constexpr std::size_t max_calls = 1024;
constexpr std::size_t max_channels = 4096;
constexpr int reads_per_turn = 4;

}  // namespace

void call::answer(json value) {
  if (const auto where = from()) where->finish_call(id_, wire::answer(id_, std::move(value)));
}

void call::refuse(const wire::failure& f) {
  if (const auto where = from()) where->finish_call(id_, wire::refusal(id_, f));
}

connection::connection(loop& l, fd socket, json hello_extra, request_handler on_request,
                       std::function<void(connection&)> on_lost)
    : loop_(l),
      socket_(std::move(socket)),
      hello_extra_(std::move(hello_extra)),
      on_request_(std::move(on_request)),
      on_lost_(std::move(on_lost)) {}

connection::~connection() {
  if (socket_) loop_.remove(socket_.get());
}

void connection::start() {
  interest_ = EPOLLIN;
  loop_.add(socket_.get(), interest_, [this](std::uint32_t events) {
    const auto keep = shared_from_this();
    on_ready(events);
  });
  send_message(wire::hello(std::move(hello_extra_)));
}

void connection::drop(std::string why) {
  if (lost_) return;
  lost_ = true;
  log_line(log_level::debug, "connection ended: " + why);
  loop_.remove(socket_.get());
  socket_.reset();
  const auto channels = std::move(channels_);
  channels_.clear();
  const auto calls = std::move(calls_);
  calls_.clear();
  for (const auto& [id, c] : calls) {
    c->cancelled_ = true;
    if (c->on_cancel_) c->on_cancel_();
  }
  for (const auto& [number, c] : channels) c->handler->closed();
  on_lost_(*this);
}

void connection::on_ready(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  if (!lost_ && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_frames();
}

void connection::read_frames() {
  for (int i = 0; i < reads_per_turn && !lost_; ++i) {
    const auto room = decoder_.prepare();
    const ssize_t n = ::read(socket_.get(), room.data(), room.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop(n == 0 ? "closed by the host" : "read error");
    decoder_.commit(static_cast<std::size_t>(n));
    wire::frame f;
    auto status = decoder_.next(f);
    for (; status == wire::decoder::status::ready && !lost_; status = decoder_.next(f)) on_frame(f);
    if (!lost_ && status == wire::decoder::status::broken) return drop(decoder_.problem());
    if (static_cast<std::size_t>(n) < room.size()) return;
  }
}

void connection::on_frame(const wire::frame& f) {
  if (f.channel != 0) return on_channel_frame(f);
  if (f.kind != wire::frame_kind::message && f.kind != wire::frame_kind::message_part) return;
  std::string text;
  if (joiner_.add(f, text))
    on_message(text);
  else if (joiner_.too_large())
    drop("a message over 8 MiB");
}

void connection::on_message(const std::string& text) {
  auto message = wire::parse(text);
  if (!message || !message->is_object()) return drop("a message that is no JSON object");
  if (!agreed_) {
    try {
      wire::agree(*message);
      agreed_ = true;
    } catch (const failed& f) {
      json refusal = json::object();
      refusal["refused"] = wire::to_json(f.get());
      send_message(refusal);
      drop(f.get().message);
    }
    return;
  }
  const auto cancel = message->find("cancel");
  if (cancel != message->end() && cancel->is_number_unsigned()) {
    const auto it = calls_.find(cancel->get<std::uint64_t>());
    if (it == calls_.end()) return;
    const auto which = it->second;
    which->cancelled_ = true;
    if (which->on_cancel_) which->on_cancel_();
    return which->refuse({"cancelled", "cancelled", "the request was cancelled", "", ""});
  }
  const auto id = message->find("id");
  const auto op = message->find("op");
  // Anything else may be of a later generation.
  if (id == message->end() || !id->is_number_unsigned() || op == message->end() || !op->is_string()) return;
  const auto args = message->find("args");
  auto asked = std::make_shared<call>(weak_from_this(), id->get<std::uint64_t>(), op->get<std::string>(),
                                      args == message->end() ? json::object() : std::move(*args));
  if (calls_.count(asked->id_) != 0) return drop("a request id that is in use");
  calls_[asked->id_] = asked;
  if (calls_.size() > max_calls)
    return asked->refuse({"limit_exceeded", "too_many_requests", "1024 requests are under way on this connection",
                          "Wait for some of them to be answered.", ""});
  on_request_(asked);
}

void connection::finish_call(std::uint64_t id, const json& message) {
  if (lost_ || calls_.erase(id) == 0) return;
  send_message(message);
}

void connection::on_channel_frame(const wire::frame& f) {
  const auto it = channels_.find(f.channel);
  if (it == channels_.end()) return;  // closed already: what was under way goes nowhere
  const auto c = it->second;
  switch (f.kind) {
    case wire::frame_kind::data:
      if (!c->receive.receive(f.payload.size())) return drop("data over the credit of a channel");
      return c->handler->data(f.payload);
    case wire::frame_kind::credit:
      if (!c->send.grant(wire::credit_of(f.payload))) return drop("a grant of more than 2 GiB");
      return c->handler->writable();
    case wire::frame_kind::end:
      return c->handler->ended();
    case wire::frame_kind::reset:
      channels_.erase(f.channel);
      return c->handler->closed();
    default:
      return;
  }
}

void connection::open_channel(std::uint32_t number, std::shared_ptr<channel_handler> handler) {
  if (number == 0 || channels_.count(number) != 0)
    throw bad_argument("/channel", "channel " + std::to_string(number) + " is in use",
                       "Choose a number not used before.");
  if (channels_.size() >= max_channels)
    throw failed("limit_exceeded", "too_many_channels", "4096 channels are open on this connection", "Close some.");
  auto made = std::make_shared<channel>();
  made->handler = std::move(handler);
  channels_[number] = std::move(made);
}

void connection::close_channel(std::uint32_t number) { channels_.erase(number); }

std::size_t connection::send_room(std::uint32_t number) const {
  const auto it = channels_.find(number);
  if (lost_ || it == channels_.end()) return 0;
  const std::size_t queued = out_.size() - out_done_;
  return queued >= out_high ? 0 : std::min(it->second->send.available(), wire::data_chunk);
}

void connection::send_data(std::uint32_t number, wire::frame_kind kind, std::string_view bytes) {
  const auto it = channels_.find(number);
  if (lost_ || it == channels_.end()) return;
  it->second->send.spend(bytes.size());
  std::string head;
  wire::append_frame(head, kind, number, {});
  // The length field counts the payload that follows.
  const auto length = static_cast<std::uint32_t>(wire::header_bytes - wire::length_bytes + bytes.size());
  for (int i = 0; i < 4; ++i) head[static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i));
  std::size_t sent = 0;
  if (flushed()) {
    // The usual case: straight from the log to the socket, no copy.
    iovec parts[2] = {{head.data(), head.size()}, {const_cast<char*>(bytes.data()), bytes.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == ENOTSOCK) n = ::writev(socket_.get(), parts, 2);
    sent = n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  if (sent == head.size() + bytes.size()) return;
  if (sent < head.size()) out_.append(head, sent);
  out_.append(bytes.substr(sent > head.size() ? sent - head.size() : 0));
  update_interest();
}

void connection::send_channel_message(std::uint32_t number, const json& message) {
  if (lost_) return;
  wire::append_message(out_, number, wire::to_text(message));
  flush();
}

void connection::send_end(std::uint32_t number) {
  if (lost_) return;
  wire::append_frame(out_, wire::frame_kind::end, number, {});
  flush();
}

void connection::send_reset(std::uint32_t number, const wire::failure* why) {
  if (lost_) return;
  wire::append_frame(out_, wire::frame_kind::reset, number, why == nullptr ? "" : wire::to_text(wire::to_json(*why)));
  flush();
}

void connection::consumed(std::uint32_t number, std::size_t bytes) {
  const auto it = channels_.find(number);
  if (lost_ || it == channels_.end()) return;
  const std::uint32_t grant = it->second->receive.consume(bytes);
  if (grant == 0) return;
  wire::append_credit(out_, number, grant);
  flush();
}

void connection::call_again(std::uint32_t number) {
  loop_.post([weak = weak_from_this(), number] {
    const auto self = weak.lock();
    if (!self) return;
    const auto it = self->channels_.find(number);
    if (it == self->channels_.end()) return;
    const auto keep = it->second;
    keep->handler->writable();
  });
}

void connection::send_notice(std::string_view type, const json& data) {
  if (!agreed_ || lost_) return;
  // A host that does not read loses notices rather than making the agent grow.
  if (out_.size() - out_done_ > out_full) return;
  send_message(wire::notice(type, data));
}

void connection::send_message(const json& message) {
  if (lost_) return;
  wire::append_message(out_, 0, wire::to_text(message));
  flush();
}

void connection::flush() {
  while (!lost_ && out_done_ < out_.size()) {
    ssize_t n = ::send(socket_.get(), out_.data() + out_done_, out_.size() - out_done_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == ENOTSOCK) n = ::write(socket_.get(), out_.data() + out_done_, out_.size() - out_done_);
    if (n < 0 && errno == EINTR) continue;
    // A dead socket is noticed by the read side, on the loop, where it is safe to take things down.
    if (n <= 0) break;
    out_done_ += static_cast<std::size_t>(n);
  }
  if (out_done_ == out_.size()) {
    out_done_ = 0;
    if (out_.capacity() > out_low)
      out_ = {};
    else
      out_.clear();
  } else if (out_done_ > out_high) {
    out_.erase(0, out_done_);
    out_done_ = 0;
  }
  update_interest();
  if (starved_ && out_.size() - out_done_ < out_low) let_write();
}

void connection::update_interest() {
  const std::size_t queued = out_.size() - out_done_;
  if (queued >= out_high) starved_ = true;
  const std::uint32_t want = (queued > out_full ? 0u : static_cast<std::uint32_t>(EPOLLIN)) |
                             (queued > 0 ? static_cast<std::uint32_t>(EPOLLOUT) : 0u);
  if (lost_ || want == interest_) return;
  interest_ = want;
  loop_.change(socket_.get(), want);
}

void connection::let_write() {
  if (writing_) return;
  writing_ = true;
  starved_ = false;
  // Handlers may close channels, so they are called from a copy.
  std::vector<std::shared_ptr<channel>> all;
  for (const auto& [number, c] : channels_) all.push_back(c);
  for (const auto& c : all)
    if (!lost_) c->handler->writable();
  writing_ = false;
}

}  // namespace caged::agent
