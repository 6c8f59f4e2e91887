// Runs one step of a plugin's life on the host's executor, and waits for it no longer than its deadline.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <caged/plugin.hpp>
#include <chrono>
#include <functional>

namespace caged::plugins {

enum class ending : std::uint8_t {
  unset = 0,
  done,         // the step returned; `answer` says how
  cancelled,    // ran late, was cancelled and has ended: the plugin may still be closed
  abandoned,    // runs still: the plugin must not be touched again
};

struct step_outcome {
  ending how = ending::unset;
  result<void> answer;  // an error unless the step was done and went well
};

// What a step is called in errors: "vmm.jail", "open".
struct step_name {
  std::string plugin;
  std::string step;
};

// Blocks the calling thread, which must not run `executor`. `body` starts the step; it is called on a strand of the
// executor. An exception it throws, then or later, becomes an error.
step_outcome run_step(boost::asio::any_io_executor executor, step_name name, std::chrono::milliseconds deadline,
                      std::chrono::milliseconds grace, std::function<task<void>()> body);

}  // namespace caged::plugins
