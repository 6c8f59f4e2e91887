// Joins a process to a channel: its output out with credit, stdin in with backpressure, its end as a message.
#pragma once

#include <memory>

#include "connection.hpp"
#include "exec/process.hpp"

namespace caged::agent {

class process_channel : public channel_handler, public process_reader {
 public:
  // Opens `number` on `where` and attaches; kept output comes first. Throws when the number is in use.
  static void open(const std::shared_ptr<connection>& where, std::uint32_t number, std::shared_ptr<process> which);
  process_channel(std::weak_ptr<connection> where, std::uint32_t number, std::shared_ptr<process> which);

  void data(std::string_view bytes) override;
  void ended() override { process_->close_stdin(); }
  void writable() override;
  void closed() override;

  void output_ready() override { send(); }
  void stdin_taken(std::size_t bytes) override;
  std::uint64_t position() const noexcept override { return position_; }

 private:
  bool send();
  std::weak_ptr<connection> where_;
  std::uint32_t number_;
  std::shared_ptr<process> process_;
  std::uint64_t first_, position_;
  bool done_ = false;
};

}  // namespace caged::agent
