// Decodes the chunked transfer coding. No sockets; fuzzed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace caged::http {

// Strict: CR LF only, hexadecimal sizes of at most 15 digits, bounded extensions and trailers (both are dropped).
class chunk_decoder {
 public:
  enum class status : std::uint8_t { need_more = 1, full, done, bad };

  // Consumes from the front of `in`, appends body bytes to `out` until it holds `limit`. `used` says how much of `in`
  // was consumed. After `done` the rest of `in` belongs to the next request. `bad` is for ever.
  status feed(std::string_view in, std::size_t& used, std::string& out, std::size_t limit);
  // Why it is bad, for the answer.
  std::string_view problem() const noexcept { return problem_; }

 private:
  enum class state : std::uint8_t {
    size_first = 1,
    size,
    extension,
    size_feed,
    data,
    data_return,
    data_feed,
    trailer_first,
    trailer,
    trailer_feed,
    end_feed,
    done,
    bad
  };
  // Takes one byte of the framing; false when it does not fit.
  bool take(char c) noexcept;
  bool fail(std::string_view why) noexcept;
  bool take_size_end(char c) noexcept;

  state state_ = state::size_first;
  std::uint64_t left_ = 0;  // of the chunk
  unsigned digits_ = 0;
  std::size_t overhead_ = 0;  // bytes of this extension, or of all trailers
  std::string_view problem_;
};

}  // namespace caged::http
