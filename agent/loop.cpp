#include "loop.hpp"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

namespace caged::agent {
namespace {

std::uint64_t pack(int descriptor, std::uint64_t serial) {
  return serial << 32 | static_cast<std::uint32_t>(descriptor);
}

struct thread_start {
  std::function<void()> body;
};

void* thread_main(void* raw) {
  std::unique_ptr<thread_start> start(static_cast<thread_start*>(raw));
  start->body();
  return nullptr;
}

}  // namespace

loop::loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_ || !wake_) throw os_failure(errno, "make an event loop");
  add(wake_.get(), EPOLLIN, [this](std::uint32_t) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(wake_.get(), &count, sizeof count);
    run_posted();
  });
}

loop::~loop() = default;

void loop::add(int descriptor, std::uint32_t events, ready_handler handler) {
  // The serial tells a late event of a closed descriptor from one of its successor with the same number.
  const std::uint64_t serial = ++last_serial_ & 0xffffffff;
  epoll_event event{};
  event.events = events;
  event.data.u64 = pack(descriptor, serial);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) throw os_failure(errno, "watch a descriptor");
  watched_[descriptor] = std::make_shared<watched>(watched{std::move(handler), serial});
}

void loop::change(int descriptor, std::uint32_t events) {
  const auto it = watched_.find(descriptor);
  if (it == watched_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = pack(descriptor, it->second->serial);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, descriptor, &event);
}

void loop::remove(int descriptor) {
  if (watched_.erase(descriptor) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor, nullptr);
}

loop::timer_id loop::after(steady::duration delay, std::function<void()> action) {
  const timer_id id = ++last_timer_;
  const auto added = timers_.emplace(steady::now() + delay, std::make_pair(id, std::move(action)));
  if (earlier_timer_ && added == timers_.begin()) earlier_timer_();
  return id;
}

void loop::cancel(timer_id id) {
  for (auto it = timers_.begin(); it != timers_.end(); ++it)
    if (it->second.first == id) {
      timers_.erase(it);
      return;
    }
}

void loop::post(std::function<void()> action) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(action));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wake_.get(), &one, sizeof one);
}

void loop::run_posted() {
  std::vector<std::function<void()>> now;
  {
    const std::lock_guard lock(posted_mutex_);
    now.swap(posted_);
  }
  for (auto& action : now) action();
}

void loop::run_job(std::function<void()> work, std::function<void()> done) {
  job next{std::move(work), std::move(done)};
  if (running_jobs_ >= max_jobs) {
    waiting_jobs_.push_back(std::move(next));
    return;
  }
  start_job(std::move(next));
}

void loop::start_job(job next) {
  ++running_jobs_;
  auto work = std::move(next.work);
  auto finish = [this, done = std::move(next.done)] {
    --running_jobs_;
    if (!waiting_jobs_.empty()) {
      job waiting = std::move(waiting_jobs_.front());
      waiting_jobs_.erase(waiting_jobs_.begin());
      start_job(std::move(waiting));
    }
    done();
  };
  auto body = std::make_unique<thread_start>();
  body->body = [this, work, finish] {
    work();
    post(finish);
  };
  // Small stacks: a walk through directories keeps its state on the heap.
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, 512u << 10);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const int err = ::pthread_create(&thread, &attributes, thread_main, body.get());
  ::pthread_attr_destroy(&attributes);
  if (err == 0) {
    [[maybe_unused]] auto* running = body.release();
  } else {
    // No thread to be had (process limit): late is better than never.
    body->body();
  }
}

void loop::run_timers() {
  const auto now = steady::now();
  while (!timers_.empty() && timers_.begin()->first <= now && !stopped_) {
    auto action = std::move(timers_.begin()->second.second);
    timers_.erase(timers_.begin());
    action();
  }
}

int loop::wait_time() const {
  if (timers_.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - steady::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

int loop::turn(int wait_milliseconds) {
  epoll_event events[32];
  const int count = ::epoll_wait(epoll_.get(), events, 32, wait_milliseconds);
  for (int i = 0; i < count && !stopped_; ++i) {
    const int descriptor = static_cast<int>(events[i].data.u64 & 0xffffffff);
    const auto it = watched_.find(descriptor);
    if (it == watched_.end() || it->second->serial != events[i].data.u64 >> 32) continue;
    const auto keep = it->second;  // the handler may remove itself
    keep->handler(events[i].events);
  }
  run_timers();
  return count;
}

void loop::run() {
  while (!stopped_) turn(wait_time());
}

void loop::step() {
  while (!stopped_ && turn(0) > 0) {
  }
}

steady::time_point loop::next_timer() const {
  return timers_.empty() ? steady::time_point::max() : timers_.begin()->first;
}

}  // namespace caged::agent
