// What a process wrote, kept in a bounded ring with absolute positions, so that readers come, go and come back.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>

namespace caged::agent {

enum class output_stream : std::uint8_t { unset = 0, out, err };

class output_log {
 public:
  static constexpr std::size_t capacity = 256u << 10;

  std::uint64_t begin() const noexcept { return begin_; }  // oldest byte still kept; before it all is dropped
  std::uint64_t end() const noexcept { return end_; }      // one past the newest

  // Room that may be written without dropping a byte at or after `keep_from`.
  std::size_t room(std::uint64_t keep_from) const noexcept;
  void append(output_stream stream, std::string_view bytes);
  // The longest piece of one stream at `from` that lies in one run of memory; empty at the end.
  struct piece {
    output_stream stream;
    std::string_view bytes;
  };
  piece at(std::uint64_t from, std::size_t limit) const;

 private:
  static constexpr std::size_t max_marks = 4096;
  void grow(std::size_t needed);
  struct mark {
    std::uint64_t from;
    output_stream stream;
  };
  std::unique_ptr<char[]> ring_;
  std::size_t size_ = 0;  // of the ring, a power of two
  std::uint64_t begin_ = 0, end_ = 0;
  std::deque<mark> marks_;  // where the stream changes; the first is at or before begin_
};

}  // namespace caged::agent
