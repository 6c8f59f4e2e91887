#include "warm_boxes.hpp"

#include "launcher/spec.hpp"

namespace caged::vmm::jail {
namespace {

// Everything of a specification but the name and the environment.
std::string kind_of(const box_spec& s) {
  message_writer out;
  out.word(s.image).word(std::to_string(s.cpus)).number(s.memory_bytes).number(s.disk_bytes).number(s.max_processes);
  out.word(s.network_mode).list(s.accept_missing);
  return out.text();
}

}  // namespace

std::optional<warm_box> warm_boxes::take(const box_spec& spec) {
  if (count_ == 0) return std::nullopt;
  const std::string kind = kind_of(spec);
  const std::lock_guard lock(guard_);
  for (auto it = ready_.begin(); it != ready_.end(); ++it) {
    if (it->first != kind) continue;
    std::optional<warm_box> out(std::move(it->second));
    ready_.erase(it);
    changed_.notify_one();
    return out;
  }
  return std::nullopt;
}

void warm_boxes::want(const box_spec& spec) {
  if (count_ == 0) return;
  const std::lock_guard lock(guard_);
  if (closing_) return;
  if (const std::string kind = kind_of(spec); kind != kind_) {
    kind_ = kind;
    wanted_ = spec;
    wanted_->env.clear();
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  changed_.notify_one();
}

void warm_boxes::refill(std::unique_lock<std::mutex>& lock) {
  const box_spec spec = *wanted_;
  const std::string kind = kind_;
  lock.unlock();
  auto made = handlers_.make(spec);
  lock.lock();
  if (made) {
    ready_.emplace_back(kind, std::move(*made));
    return;
  }
  // The next request will say what is wrong; trying again at once would only be wrong more often.
  handlers_.log("no box can be made ahead: " + describe(made.error()));
  wanted_.reset();
  kind_.clear();
}

void warm_boxes::run() {
  std::unique_lock lock(guard_);
  while (!closing_) {
    if (!ready_.empty() && ready_.front().first != kind_) {
      warm_box old = std::move(ready_.front().second);
      ready_.pop_front();
      lock.unlock();
      handlers_.discard(std::move(old));
      lock.lock();
    } else if (wanted_ && ready_.size() < count_) {
      refill(lock);
    } else {
      changed_.wait(lock);
    }
  }
}

void warm_boxes::close() {
  {
    const std::lock_guard lock(guard_);
    closing_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  for (auto& [kind, box] : ready_) handlers_.discard(std::move(box));
  ready_.clear();
}

}  // namespace caged::vmm::jail
