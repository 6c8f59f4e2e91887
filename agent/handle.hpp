// Owners of the raw things the agent holds: descriptors and failures made from errno.
#pragma once

#include <unistd.h>

#include <caged/wire/message.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace caged::agent {

using wire::failed;
using wire::json;

// Owns a descriptor. -1 is none.
class fd {
 public:
  fd() = default;
  explicit fd(int raw) noexcept : raw_(raw) {}
  fd(fd&& other) noexcept : raw_(std::exchange(other.raw_, -1)) {}
  fd& operator=(fd&& other) noexcept {
    if (this != &other) {
      reset();
      raw_ = std::exchange(other.raw_, -1);
    }
    return *this;
  }
  ~fd() { reset(); }
  int get() const noexcept { return raw_; }
  explicit operator bool() const noexcept { return raw_ >= 0; }
  int release() noexcept { return std::exchange(raw_, -1); }
  void reset(int raw = -1) noexcept {
    if (raw_ >= 0) ::close(raw_);
    raw_ = raw;
  }

 private:
  int raw_ = -1;
};

// errno as a failure, with the same reasons as caged::errno_error. `what` says what was tried: "open /x".
failed os_failure(int err, std::string_view what, std::string action = {});
// invalid_argument about one argument; `path` is its JSON pointer in the arguments.
failed bad_argument(std::string path, std::string message, std::string action = {});

}  // namespace caged::agent
