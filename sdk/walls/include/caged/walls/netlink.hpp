// Netlink messages as bytes: a builder for nested attributes, and one exchange with the kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace caged::walls {

// Builds one datagram of messages. Sizes are patched when a message or nest ends; everything is aligned as netlink
// asks.
class netlink_batch {
 public:
  void begin(std::uint16_t type, std::uint16_t flags, const void* header, std::size_t header_size);
  void end();
  void bytes(std::uint16_t type, const void* data, std::size_t size);
  void text(std::uint16_t type, const char* value);                // with its NUL
  void big32(std::uint16_t type, std::uint32_t value);             // network order, as nf_tables wants numbers
  void host32(std::uint16_t type, std::uint32_t value);            // as routing wants them
  std::size_t open_nest(std::uint16_t type);
  void close_nest(std::size_t nest);

  const std::string& data() const noexcept { return data_; }
  unsigned asked() const noexcept { return asked_; }  // messages that want an acknowledgement

 private:
  void pad();
  std::string data_;
  std::size_t start_ = 0;
  std::uint32_t sequence_ = 0;
  unsigned asked_ = 0;
};

// Sends the datagram and reads all acknowledgements. 0, or the errno of the first refusal.
int exchange(int protocol, const netlink_batch& batch);

}  // namespace caged::walls
