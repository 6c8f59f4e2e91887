// Hands usage to billing plugins: every row that changed, until each of them has taken it.
#pragma once

#include <caged/billing.hpp>
#include <caged/storage.hpp>
#include <functional>
#include <map>

#include "core/meter/usage.hpp"

namespace caged::meter {

// On the loop thread. Nothing about what was handed over has to survive a crash: totals may be repeated.
class reporter {
 public:
  struct parts {
    std::map<std::string, billing_provider*> providers;  // by name
    usage_book* book = nullptr;
    std::function<void(log_level, std::string)> log;
  };
  reporter() = default;
  void connect(parts p) { parts_ = std::move(p); }

  // One round. A provider that fails is tried again with what it missed in the next.
  task<void> round();
  // When all providers last had everything, Unix microseconds; 0 = never.
  std::int64_t last_us() const noexcept { return last_us_; }
  // Running time that they then knew of.
  std::int64_t reported_us() const noexcept { return reported_us_; }
  bool has_providers() const noexcept { return !parts_.providers.empty(); }
  // The first provider with that extension, null when there is none.
  template <class Extension>
  Extension* find() const noexcept {
    for (const auto& [name, provider] : parts_.providers)
      if (auto* found = provider->template extension<Extension>()) return found;
    return nullptr;
  }

 private:
  parts parts_;
  std::map<std::string, std::set<std::string>> due_;  // by provider: rows it has not taken
  std::int64_t last_us_ = 0, reported_us_ = 0;
};

}  // namespace caged::meter
