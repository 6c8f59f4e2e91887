#include "core/meter/reporter.hpp"

#include "core/base/time.hpp"

namespace caged::meter {
namespace {

constexpr std::size_t at_once = 500;

}  // namespace

task<void> reporter::round() {
  const auto running = parts_.book->total().running_us;
  const auto changed = parts_.book->take_changed();
  for (const auto& [name, provider] : parts_.providers) due_[name].insert(changed.begin(), changed.end());
  result<void> outcome;
  for (const auto& [name, provider] : parts_.providers) {
    auto& due = due_[name];
    while (!due.empty()) {
      std::vector<usage_line> lines;
      std::vector<std::string> ids;
      for (const auto& id : due) {
        lines.push_back(to_line(id, parts_.book->row(id)));
        ids.push_back(id);
        if (ids.size() == at_once) break;
      }
      // Taken out first: what changes while it is handed over is due again.
      for (const auto& id : ids) due.erase(id);
      auto taken = co_await provider->report(std::move(lines));
      if (taken) continue;
      due.insert(ids.begin(), ids.end());
      parts_.log(log_level::warn, "billing." + name + " did not take usage: " + describe(taken.error()));
      outcome = taken.error();
      break;
    }
  }
  if (outcome && has_providers()) {
    last_us_ = base::now_us();
    reported_us_ = running;
  }
  co_return outcome;
}

}  // namespace caged::meter
