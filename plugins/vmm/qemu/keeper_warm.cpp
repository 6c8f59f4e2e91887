// Clones that wait: made ahead, with their state loaded, so that a box costs only the word to go on.
#include "keeper.hpp"

#include <caged/random.hpp>

namespace caged::vmm::qemu {

std::unique_ptr<keeper::spare> keeper::take_spare(const base& from) {
  const std::lock_guard lock(guard_);
  for (auto it = spares_.begin(); it != spares_.end(); ++it) {
    if ((*it)->base != from.folder.filename().string()) continue;
    auto out = std::move(*it);
    spares_.erase(it);
    return out;
  }
  return nullptr;
}

// Only for templates: what a snapshot's next fork would be is not known, and may never come.
void keeper::want_spares(const base& from) {
  if (options_.warm == 0 || from.folder.parent_path().filename() != "bases") return;
  const std::lock_guard lock(guard_);
  if (closed_) return;
  wanted_ = from;
  if (filling_) return;
  filling_ = true;
  if (filler_.joinable()) filler_.join();  // it has said that it is done; nothing of it needs the lock any more
  filler_ = std::thread([this] { fill(); });
}

void keeper::fill() {
  for (;;) {
    base from;
    std::vector<std::unique_ptr<spare>> useless;
    {
      const std::lock_guard lock(guard_);
      from = wanted_;
      const std::string name = from.folder.filename().string();
      for (auto it = spares_.begin(); it != spares_.end();) {
        if ((*it)->base == name) {
          ++it;
        } else {
          useless.push_back(std::move(*it));
          it = spares_.erase(it);
        }
      }
      if (closed_ || spares_.size() >= options_.warm) {
        filling_ = false;
        if (useless.empty()) return;
      }
    }
    for (const auto& s : useless) {
      kill_machine(s->now);
      sweep(s->folder);
    }
    {
      const std::lock_guard lock(guard_);
      if (!filling_) return;
    }
    auto made = std::make_unique<spare>();
    made->base = from.folder.filename().string();
    made->folder = options_.data / "boxes" / random_id("~spare-", 12);
    made->uid = new_uid();
    auto ran = clone(from, made->folder, made->uid);
    if (!ran) {
      host_.log(log_level::warn, "no clone can be made ahead: " + describe(ran.error()));
      sweep(made->folder);
      const std::lock_guard lock(guard_);
      filling_ = false;
      return;
    }
    made->now = std::move(*ran);
    const std::lock_guard lock(guard_);
    spares_.push_back(std::move(made));
  }
}

void keeper::close() {
  std::vector<std::unique_ptr<spare>> left;
  {
    const std::lock_guard lock(guard_);
    closed_ = true;
  }
  if (filler_.joinable()) filler_.join();
  {
    const std::lock_guard lock(guard_);
    left.swap(spares_);
  }
  for (const auto& s : left) {
    kill_machine(s->now);
    sweep(s->folder);
  }
}

}  // namespace caged::vmm::qemu
