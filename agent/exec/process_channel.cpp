#include "exec/process_channel.hpp"

namespace caged::agent {

process_channel::process_channel(std::weak_ptr<connection> where, std::uint32_t number, std::shared_ptr<process> which)
    : where_(std::move(where)),
      number_(number),
      process_(std::move(which)),
      first_(process_->log().begin()),
      position_(first_) {}

void process_channel::open(const std::shared_ptr<connection>& where, std::uint32_t number,
                           std::shared_ptr<process> which) {
  auto made = std::make_shared<process_channel>(where, number, which);
  where->open_channel(number, made);
  which->attach(made.get());
}

void process_channel::data(std::string_view bytes) { process_->write_stdin(this, std::string(bytes)); }

void process_channel::stdin_taken(std::size_t bytes) {
  if (const auto where = where_.lock()) where->consumed(number_, bytes);
}

void process_channel::writable() {
  if (send()) process_->pump();
}

// Returns whether anything was taken from the log.
bool process_channel::send() {
  const auto where = where_.lock();
  if (!where || done_) return false;
  const auto until = process_->finished_at().value_or(process_->log().end());
  bool taken = false;
  while (position_ < until) {
    const std::size_t room =
        std::min<std::size_t>(where->send_room(number_), static_cast<std::size_t>(until - position_));
    const auto piece = process_->log().at(position_, room);
    if (piece.bytes.empty()) return taken;
    position_ += piece.bytes.size();
    taken = true;
    where->send_data(number_, piece.stream == output_stream::err ? wire::frame_kind::data_err : wire::frame_kind::data,
                     piece.bytes);
  }
  if (!process_->finished()) return taken;
  done_ = true;
  json end = json::object();
  end["exit"] = process_->exit_json(first_);
  where->send_channel_message(number_, end);
  // The channel stays until the host lets go of it, so that late stdin is not taken for a protocol error.
  return taken;
}

void process_channel::closed() {
  done_ = true;
  process_->detach(this);
}

}  // namespace caged::agent
