#include "limiter.hpp"

namespace caged::rest {

limiter::verdict limiter::count(const std::string& key, time_point now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const std::int64_t window = seconds / 60;
  const std::lock_guard guard(lock_);
  if (window != window_) {
    used_.clear();
    window_ = window;
  }
  verdict v;
  v.reset = (window + 1) * 60;
  int& used = used_[key];
  v.allowed = used < per_minute_;
  if (v.allowed) ++used;
  v.remaining = per_minute_ - used;
  return v;
}

}  // namespace caged::rest
