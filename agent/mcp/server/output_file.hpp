// All that a process wrote, for who reads it later: what outgrows the memory that is kept of it goes to a file without
// a name.
#pragma once

#include <memory>
#include <string>

#include "exec/process.hpp"
#include "handle.hpp"

namespace caged::mcp {

// On the loop. Has to be destroyed after the process, or to have let go of it.
class output_file : public agent::process_reader, public std::enable_shared_from_this<output_file> {
 public:
  static constexpr std::uint64_t most = 64u << 20;  // of one process; of what comes then only the latest is kept
  static std::shared_ptr<output_file> follow(agent::loop& l, const std::shared_ptr<agent::process>& which);

  // What it wrote from `from` on, at most `limit` bytes; empty where that is not in the file.
  std::string read(std::uint64_t from, std::size_t limit) const;

  void output_ready() override;
  void stdin_taken(std::size_t) override {}
  std::uint64_t position() const noexcept override { return position_; }

 private:
  output_file(agent::loop& l, std::weak_ptr<agent::process> which) : loop_(l), process_(std::move(which)) {}
  void keep(std::string_view bytes);
  void let_go();

  agent::loop& loop_;
  std::weak_ptr<agent::process> process_;
  agent::fd file_;
  std::uint64_t position_ = 0, written_ = 0;
  bool full_ = false, leaving_ = false;
};

}  // namespace caged::mcp
