// What the first bytes of a connection say about whom it means: TLS server name, HTTP host. No I/O; input is hostile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caged::network {

// More is no first message of anything we know.
inline constexpr std::size_t sniff_limit = 64 * 1024;

struct sniffed {
  enum class kind : std::uint8_t { unset = 0, need_more, tls, http, other, malformed } what = kind::other;
  std::string name;          // of tls: SNI; of http: Host, without its port. As sent; "" = none
  bool hidden_name = false;  // TLS: an encrypted_client_hello extension is there
  std::string problem;       // of malformed: why
};

// Looks at all bytes the client has sent so far.
sniffed sniff(std::string_view bytes);

// One HTTP/1 request head, as far as needed to follow requests on a connection.
struct request_head {
  std::string method, host;  // host without its port
  std::size_t length = 0;    // bytes of the head, the empty line included
  enum class framing : std::uint8_t { unset = 0, none, sized, chunked } body = framing::none;
  std::uint64_t body_length = 0;
  bool upgrade = false;
};
struct head_result {
  enum class kind : std::uint8_t { unset = 0, need_more, complete, malformed } what = kind::need_more;
  request_head head;
  std::string problem;
};
head_result read_head(std::string_view bytes);
// Whether a byte is there that no line of HTTP has: forgiving servers take some of them for the line's end.
bool has_control(std::string_view text);

// Follows the requests on one connection, so that each is judged by its own host.
class request_stream {
 public:
  struct step {
    enum class kind : std::uint8_t { unset = 0, need_more, judge, forward, malformed } what = kind::need_more;
    std::size_t count = 0;  // of forward: bytes at the front that may go
    request_head head;      // of judge: after allow(), call next() again
    std::string problem;
  };
  // What to do with the bytes at the front; the caller removes what it forwarded.
  step next(std::string_view bytes);
  // The head that was judged may pass.
  void allow() noexcept { allowed_ = true; }
  // Whether the request just forwarded asks for another protocol.
  bool wants_upgrade() const noexcept { return upgrade_; }
  void refuse_upgrade() noexcept { upgrade_ = false; }

 private:
  enum class state : std::uint8_t { unset = 0, head, body, chunk_line, chunk_data, chunk_end, trailer };
  step chunk_step(std::string_view bytes);
  state state_ = state::head;
  bool allowed_ = false, upgrade_ = false;
  std::uint64_t left_ = 0;
};

}  // namespace caged::network
