// Requests per minute and key, in fixed windows.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

namespace caged::rest {

class limiter {
 public:
  using time_point = std::chrono::system_clock::time_point;
  struct verdict {
    bool allowed = true;
    int remaining = 0;
    std::int64_t reset = 0;  // Unix seconds at which the window ends
  };

  // `per_minute` 0 = no limit.
  explicit limiter(int per_minute) : per_minute_(per_minute) {}
  bool active() const noexcept { return per_minute_ > 0; }
  int limit() const noexcept { return per_minute_; }
  // Counts one request of the key. Thread-safe.
  verdict count(const std::string& key, time_point now);

 private:
  const int per_minute_;
  std::mutex lock_;
  std::int64_t window_ = 0;
  std::map<std::string, int> used_;  // of this window; keys are authenticated, hence few
};

}  // namespace caged::rest
