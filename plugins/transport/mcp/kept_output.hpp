// Output of a command as a model gets it: bounded, with head and tail kept.
#pragma once

#include <algorithm>
#include <caged/base64.hpp>
#include <caged/streams.hpp>
#include <string>

namespace caged::transport_mcp {

class kept_output {
 public:
  static constexpr std::size_t most = 20'000;  // of each stream: half from its head, half from its tail

  void add(std::string_view piece) {
    total_ += piece.size();
    const std::size_t room = most / 2 - std::min(head_.size(), most / 2);
    head_ += piece.substr(0, room);
    tail_ += piece.substr(std::min(room, piece.size()));
    if (tail_.size() > most) tail_.erase(0, tail_.size() - most / 2);
  }
  std::uint64_t total() const noexcept { return total_; }
  std::uint64_t left_out() const noexcept { return total_ - head_.size() - std::min(tail_.size(), most / 2); }
  std::string text() const {
    const std::string end = tail_.size() > most / 2 ? tail_.substr(tail_.size() - most / 2) : tail_;
    if (left_out() == 0) return head_ + end;
    return head_ + "\n[… " + std::to_string(left_out()) + " of " + std::to_string(total_) +
           " bytes left out; send long output into a file and read that in parts …]\n" + end;
  }

 private:
  std::string head_, tail_;
  std::uint64_t total_ = 0;
};

// The bytes of a "stdout" or "stderr" item.
inline std::string piece_of(const stream_item& i) {
  const std::string coded = i.data.value("data_base64", "");
  return coded.empty() ? i.data.value("data", "") : base64_decode(coded).value_or("");
}

}  // namespace caged::transport_mcp
