#include "core/runtime/loop.hpp"

namespace caged::runtime {

loop::loop(std::size_t blocking_threads) : work_(asio::make_work_guard(context_)), pool_(blocking_threads) {}

loop::~loop() { stop(); }

void loop::start() {
  thread_ = std::thread([this] { context_.run(); });
}

void loop::stop() {
  work_.reset();
  context_.stop();
  if (thread_.joinable()) thread_.join();
  pool_.stop();
  pool_.join();
}

}  // namespace caged::runtime
