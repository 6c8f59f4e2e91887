// Boxes made ahead of being asked for: everything stands, and the agent waits for its environment.
#pragma once

#include "box.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace caged::vmm::jail {

// A box whose agent reads its environment from `env` and then says that it is ready.
struct warm_box {
  std::shared_ptr<box> b;
  unique_fd folder, fs, env, ready;
};

// Thread-safe. Keeps `count` boxes of the kind that was asked for last. A box fits only a request that differs from the
// one it was made for in nothing but name and environment; there is no box that is nearly right.
class warm_boxes {
 public:
  struct handlers {
    std::function<result<warm_box>(const box_spec&)> make;  // both on the pool's own thread
    std::function<void(warm_box)> discard;
    std::function<void(std::string)> log;
  };
  warm_boxes(std::size_t count, handlers h) : count_(count), handlers_(std::move(h)) {}
  ~warm_boxes() { close(); }

  // A fitting box, or none.
  std::optional<warm_box> take(const box_spec& spec);
  // Such boxes are wanted from now on; others are given up.
  void want(const box_spec& spec);
  // Joins the thread and discards what is left.
  void close();

 private:
  void run();
  void refill(std::unique_lock<std::mutex>& lock);

  const std::size_t count_;
  const handlers handlers_;
  std::mutex guard_;
  std::condition_variable changed_;
  std::optional<box_spec> wanted_;
  std::string kind_;
  std::deque<std::pair<std::string, warm_box>> ready_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace caged::vmm::jail
