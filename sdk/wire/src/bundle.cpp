#include <caged/wire/bundle.hpp>

#include <algorithm>

namespace caged::wire {

bool bundle::refuse(const char* why) noexcept {
  problem_ = why;
  return false;
}

bool bundle::took(std::size_t count) {
  decoder_.commit(count);
  frame f;
  for (;;) {
    switch (decoder_.next(f)) {
      case decoder::status::ready:
        if (!on_frame(f)) return false;
        break;
      case decoder::status::need_more:
        return true;
      default:
        return refuse("a frame of a wrong length");
    }
  }
}

bool bundle::on_frame(const frame& f) {
  if (f.channel == 0) {
    if (f.kind == frame_kind::end) tell_.held();
    if (f.kind != frame_kind::message && f.kind != frame_kind::message_part) return true;
    std::string text;
    if (joiner_.add(f, text)) tell_.message(text);
    return !joiner_.too_large() || refuse("a message over 8 MiB");
  }
  if (f.kind == frame_kind::message) {
    if (streams_.count(f.channel) != 0) return refuse("a stream that is open was opened again");
    if (streams_.size() >= most_streams) {
      append_frame(out_, frame_kind::reset, f.channel, {});
      return true;
    }
    streams_.try_emplace(f.channel);
    tell_.opened(f.channel);
    return true;
  }
  const auto found = streams_.find(f.channel);
  if (found == streams_.end()) return true;  // closed already: what was under way goes nowhere
  switch (f.kind) {
    case frame_kind::data:
      if (!found->second.receive.receive(f.payload.size())) return refuse("data over the credit of a stream");
      tell_.data(f.channel, f.payload);
      return true;
    case frame_kind::credit:
      if (!found->second.send.grant(credit_of(f.payload))) return refuse("a grant of more than 2 GiB");
      tell_.writable();
      return true;
    case frame_kind::reset:
      streams_.erase(found);
      tell_.closed(f.channel);
      return true;
    default:
      return true;
  }
}

std::uint32_t bundle::open() {
  if (streams_.size() >= most_streams) return 0;
  ++last_;
  streams_.try_emplace(last_);
  append_frame(out_, frame_kind::message, last_, {});
  return last_;
}

std::size_t bundle::room(std::uint32_t number) const {
  const auto found = streams_.find(number);
  if (found == streams_.end() || holding_ || out_.size() >= out_high) return 0;
  return std::min(found->second.send.available(), data_chunk);
}

void bundle::send(std::uint32_t number, std::string_view bytes) {
  const auto found = streams_.find(number);
  if (found == streams_.end()) return;
  found->second.send.spend(bytes.size());
  append_frame(out_, frame_kind::data, number, bytes);
}

void bundle::consumed(std::uint32_t number, std::size_t bytes) {
  const auto found = streams_.find(number);
  if (found == streams_.end()) return;
  if (const auto grant = found->second.receive.consume(bytes); grant != 0) append_credit(out_, number, grant);
}

void bundle::close(std::uint32_t number) {
  if (streams_.erase(number) != 0) append_frame(out_, frame_kind::reset, number, {});
}

void bundle::hold() {
  if (holding_) return;
  holding_ = true;
  append_frame(out_, frame_kind::end, 0, {});
}

}  // namespace caged::wire
