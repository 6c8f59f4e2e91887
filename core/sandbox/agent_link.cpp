#include "core/sandbox/agent_link.hpp"

#include <caged/wire/message.hpp>

#include <algorithm>

namespace caged::sandbox {
namespace {

using namespace std::chrono_literals;

constexpr auto handshake_deadline = 5s;
constexpr auto longest_heartbeat = 10s;

error lost_error(std::string message) {
  return fail(errc::unavailable, "sandbox_lost", std::move(message),
              "Look at the sandbox's state; its processes may have ended with it.");
}

error cancelled_error() { return fail(errc::cancelled, "cancelled", "the caller went away"); }

}  // namespace

error from_wire(const wire::failure& f) {
  error e;
  e.code = errc::internal;
  for (auto code = errc::invalid_argument; code <= errc::insufficient_storage;
       code = static_cast<errc>(static_cast<int>(code) + 1))
    if (to_string(code) == f.code) e.code = code;
  e.reason = f.reason.empty() ? "agent_failure" : f.reason;
  e.message = f.message.empty() ? "the agent refused without saying why" : f.message;
  e.action = f.action;
  e.path = f.path;
  return e;
}

asio::awaitable<bool> wakeup::wait() {
  [[maybe_unused]] const auto [ec] = co_await timer_.async_wait(use_tuple);
  const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() == asio::cancellation_type::none;
}

agent_link::agent_link(asio::any_io_executor executor, box_stream stream)
    : strand_(std::move(executor)),
      stream_(std::move(stream)),
      out_changed_(strand_),
      lost_changed_(strand_),
      opened_changed_(strand_),
      watch_timer_(strand_),
      last_frame_(std::chrono::steady_clock::now()) {}

task<void> agent_link::open() {
  boost::system::error_code ignored;
  stream_.non_blocking(true, ignored);
  send_message(wire::hello());
  // Each ends when the link is lost, and the link is lost at the latest when its owner lets go of it.
  asio::co_spawn(strand_, read_loop(), asio::detached);
  asio::co_spawn(strand_, write_loop(), asio::detached);
  asio::steady_timer deadline(strand_, handshake_deadline);
  auto self = shared_from_this();
  deadline.async_wait([self](boost::system::error_code ec) {
    if (!ec && !self->agreed_)
      self->lose(fail(errc::deadline_exceeded, "handshake_timeout", "the agent did not answer the handshake in 5 s",
                      "Check that the box's first process is caged-agent."));
  });
  while (!agreed_ && !lost_) {
    const bool alive = co_await opened_changed_.wait();
    if (!alive) {
      lose(cancelled_error());
      co_return cancelled_error();
    }
  }
  if (lost_) co_return *lost_;
  asio::co_spawn(strand_, watch_over(), asio::detached);
  co_return result<void>();
}

void agent_link::lose(error why) {
  if (lost_) return;
  lost_ = std::move(why);
  boost::system::error_code ignored;
  stream_.close(ignored);
  watch_timer_.cancel();
  for (const auto& [id, p] : pending_) {
    p->answer = result<json>(*lost_);
    p->changed.notify();
  }
  pending_.clear();
  for (const auto& [number, c] : channels_) {
    if (!c->broken) c->broken = *lost_;
    c->changed.notify();
  }
  channels_.clear();
  on_notice_ = nullptr;
  out_changed_.notify();
  opened_changed_.notify();
  lost_changed_.notify();
}

asio::awaitable<error> agent_link::wait_lost() {
  while (!lost_) {
    const bool alive = co_await lost_changed_.wait();
    if (!alive) co_return cancelled_error();
  }
  co_return *lost_;
}

asio::awaitable<void> agent_link::read_loop() {
  const auto self = shared_from_this();
  while (!lost_) {
    const auto room = decoder_.prepare();
    const auto [ec, n] = co_await stream_.async_read_some(asio::buffer(room.data(), room.size()), use_tuple);
    if (lost_) break;
    if (ec) {
      lose(lost_error(ec == asio::error::eof ? "the box closed the connection"
                                             : "the connection to the box broke: " + ec.message()));
      break;
    }
    last_frame_ = std::chrono::steady_clock::now();
    decoder_.commit(n);
    wire::frame f;
    auto status = decoder_.next(f);
    while (status == wire::decoder::status::ready && !lost_) {
      on_frame(f);
      status = decoder_.next(f);
    }
    if (status == wire::decoder::status::broken && !lost_)
      lose(lost_error("the box sent what is no caged-wire frame: " + decoder_.problem()));
  }
}

asio::awaitable<void> agent_link::write_loop() {
  const auto self = shared_from_this();
  while (!lost_) {
    if (out_.empty()) {
      co_await out_changed_.wait();
      continue;
    }
    const std::string now = std::exchange(out_, {});
    const auto [ec, n] = co_await asio::async_write(stream_, asio::buffer(now), use_tuple);
    if (ec && !lost_) lose(lost_error("the connection to the box broke while sending: " + ec.message()));
  }
}

asio::awaitable<void> agent_link::watch_over() {
  const auto self = shared_from_this();
  const auto limit = heartbeat_ * 5 / 2;
  int silent_looks = 0;
  while (!lost_) {
    watch_timer_.expires_after(heartbeat_ / 2);
    co_await watch_timer_.async_wait(use_tuple);
    if (lost_) break;
    if (std::chrono::steady_clock::now() - last_frame_ < limit) {
      silent_looks = 0;
      continue;
    }
    // If this host itself stood still, heartbeats wait in the socket: only a second look in a row counts.
    if (++silent_looks >= 2)
      lose(lost_error("the agent has missed two heartbeats (" +
                      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()) +
                      " ms of silence)"));
  }
}

void agent_link::send_message(const json& message) {
  if (lost_) return;
  wire::append_message(out_, 0, wire::to_text(message));
  out_changed_.notify();
}

void agent_link::on_frame(const wire::frame& f) {
  if (f.channel != 0) {
    const auto it = channels_.find(f.channel);
    // What was under way when a channel was let go of goes nowhere.
    if (it != channels_.end()) {
      const auto keep = it->second;
      on_channel_frame(f, keep);
    }
    return;
  }
  if (f.kind != wire::frame_kind::message && f.kind != wire::frame_kind::message_part) return;
  std::string text;
  if (joiner_.add(f, text))
    on_message(text);
  else if (joiner_.too_large())
    lose(lost_error("the box sent a message over 8 MiB"));
}

void agent_link::on_channel_frame(const wire::frame& f, const std::shared_ptr<link_channel>& c) {
  switch (f.kind) {
    case wire::frame_kind::data:
    case wire::frame_kind::data_err:
      if (f.payload.empty()) return;
      if (!c->receive.receive(f.payload.size())) return lose(lost_error("the box sent more than it was allowed to"));
      // One queue entry per frame costs memory of its own: a box that sends single bytes is joined up here.
      if (!c->pieces.empty() && c->pieces.back().kind == f.kind && c->pieces.back().bytes.size() < 4096 &&
          f.payload.size() < 4096 && c->joinable)
        c->pieces.back().bytes.append(f.payload);
      else
        c->pieces.push_back({f.kind, std::string(f.payload)});
      break;
    case wire::frame_kind::message:
    case wire::frame_kind::message_part: {
      std::string text;
      if (c->joiner.too_large() || c->ended) return;
      if (!c->joiner.add(f, text)) return;
      // Only a process's end comes as a message, and it comes once.
      c->ended = true;
      c->pieces.push_back({wire::frame_kind::message, std::move(text)});
      break;
    }
    case wire::frame_kind::credit:
      if (!c->send.grant(wire::credit_of(f.payload))) return lose(lost_error("the box granted more than 2 GiB"));
      break;
    case wire::frame_kind::end:
      c->ended = true;
      break;
    case wire::frame_kind::reset: {
      const auto reason = wire::parse(f.payload);
      c->broken = reason ? from_wire(wire::failure_from(*reason))
                         : fail(errc::unavailable, "channel_reset", "the agent gave the stream up", "Try again.");
      channels_.erase(c->number);
      break;
    }
    default:
      return;
  }
  c->changed.notify();
}

void agent_link::on_message(const std::string& text) {
  auto message = wire::parse(text);
  if (!message || !message->is_object()) return lose(lost_error("the box sent a message that is no JSON object"));
  if (!agreed_) {
    try {
      const wire::agreement agreed = wire::agree(*message);
      const auto beat = agreed.peer.find("heartbeat_ms");
      if (beat != agreed.peer.end() && beat->is_number_unsigned())
        heartbeat_ = std::chrono::milliseconds(std::clamp<std::uint64_t>(beat->get<std::uint64_t>(), 20, 10000));
      agreed_ = true;
      opened_changed_.notify();
    } catch (const wire::failed& f) {
      lose(from_wire(f.get()));
    }
    return;
  }
  const auto id = message->find("id");
  if (id != message->end() && id->is_number_unsigned()) return on_answer(id->get<std::uint64_t>(), *message);
  const auto type = message->find("notice");
  if (type == message->end() || !type->is_string() || !on_notice_) return;
  const auto data = message->find("data");
  // The handler may set another one, or let go of the link.
  const auto handler = on_notice_;
  handler(type->get<std::string>(), data == message->end() ? json() : std::move(*data));
}

void agent_link::on_answer(std::uint64_t id, json& message) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) {
    if (orphans_.erase(id) != 0 && message.contains("ok")) end_orphan(message["ok"]);
    return;
  }
  const auto asked = it->second;
  pending_.erase(it);
  const auto ok = message.find("ok");
  if (ok != message.end())
    asked->answer = result<json>(std::move(*ok));
  else
    asked->answer = result<json>(from_wire(wire::failure_from(message.value("error", json::object()))));
  asked->changed.notify();
  if (asked->upload) {
    asked->upload->answered = true;
    asked->upload->changed.notify();
  }
}

void agent_link::end_orphan(const json& started) {
  const auto id = started.is_object() ? started.find("id") : started.end();
  if (!started.is_object() || id == started.end() || !id->is_string()) return;
  json arguments{{"signal", "SIGKILL"}};
  arguments["id"] = *id;
  send_message(wire::request(++last_request_, "process.signal", std::move(arguments)));
}

result<std::shared_ptr<agent_link::pending>> agent_link::begin_request(std::string operation, json arguments) {
  if (lost_) return *lost_;
  const json message = wire::request(++last_request_, operation, std::move(arguments));
  const std::string text = wire::to_text(message);
  if (text.size() > wire::max_message)
    return fail(errc::too_large, "request_too_large", "the arguments of " + operation + " are over 8 MiB",
                "Send large data as a file.");
  auto asked = std::make_shared<pending>(strand_);
  asked->id = last_request_;
  pending_[asked->id] = asked;
  wire::append_message(out_, 0, text);
  out_changed_.notify();
  return asked;
}

task<json> agent_link::finish_request(std::shared_ptr<pending> asked) {
  while (!asked->answer) {
    const bool alive = co_await asked->changed.wait();
    if (alive || asked->answer) continue;
    pending_.erase(asked->id);
    send_message(wire::cancel(asked->id));
    co_return cancelled_error();
  }
  co_return std::move(*asked->answer);
}

task<json> agent_link::request(std::string operation, json arguments) {
  const auto self = shared_from_this();
  auto asked = begin_request(std::move(operation), std::move(arguments));
  if (!asked) co_return asked.error();
  co_return co_await finish_request(*asked);
}

task<json> agent_link::start_request(std::string operation, json arguments) {
  const auto self = shared_from_this();
  auto asked = begin_request(std::move(operation), std::move(arguments));
  if (!asked) co_return asked.error();
  const auto mine = *asked;
  while (!mine->answer) {
    const bool alive = co_await mine->changed.wait();
    if (alive || mine->answer) continue;
    pending_.erase(mine->id);
    orphans_[mine->id] = 0;
    co_return cancelled_error();
  }
  co_return std::move(*mine->answer);
}

std::shared_ptr<link_channel> agent_link::open_channel() {
  auto made = std::make_shared<link_channel>(strand_);
  made->number = ++last_channel_;
  if (lost_)
    made->broken = *lost_;
  else
    channels_[made->number] = made;
  return made;
}

void agent_link::let_go(std::uint32_t number) {
  if (channels_.erase(number) == 0 || lost_) return;
  wire::append_frame(out_, wire::frame_kind::reset, number, {});
  out_changed_.notify();
}

task<std::optional<link_channel::piece>> agent_link::next_piece(std::shared_ptr<link_channel> from) {
  const auto self = shared_from_this();
  while (from->pieces.empty()) {
    if (from->ended) co_return std::nullopt;
    if (from->broken) co_return *from->broken;
    const bool alive = co_await from->changed.wait();
    if (!alive && from->pieces.empty()) co_return cancelled_error();
  }
  link_channel::piece piece = std::move(from->pieces.front());
  from->pieces.pop_front();
  if (piece.kind != wire::frame_kind::message) {
    const std::uint32_t grant = from->receive.consume(piece.bytes.size());
    if (grant != 0 && !lost_ && !from->ended) {
      wire::append_credit(out_, from->number, grant);
      out_changed_.notify();
    }
  }
  co_return std::optional<link_channel::piece>(std::move(piece));
}

task<void> agent_link::send_data(std::shared_ptr<link_channel> to, std::string bytes) {
  const auto self = shared_from_this();
  for (std::size_t done = 0; done < bytes.size();) {
    if (to->broken) co_return *to->broken;
    if (to->ended || to->answered)
      co_return fail(errc::conflict, "channel_ended", "the other side takes no more input", "Read how it ended.");
    const std::size_t size = std::min({bytes.size() - done, to->send.available(), wire::data_chunk});
    if (size == 0) {
      const bool alive = co_await to->changed.wait();
      if (!alive) co_return cancelled_error();
      continue;
    }
    to->send.spend(size);
    wire::append_frame(out_, wire::frame_kind::data, to->number, std::string_view(bytes).substr(done, size));
    done += size;
    out_changed_.notify();
  }
  co_return result<void>();
}

void agent_link::send_end(std::uint32_t number) {
  if (lost_) return;
  wire::append_frame(out_, wire::frame_kind::end, number, {});
  out_changed_.notify();
}

}  // namespace caged::sandbox
