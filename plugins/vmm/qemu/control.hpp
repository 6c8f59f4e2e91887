// The host's word to a machine, through its relay: be this one, hold still, go on. Blocking, with deadlines.
#pragma once

#include <caged/json.hpp>
#include <caged/owned_fd.hpp>
#include <caged/result.hpp>
#include <caged/wire/frame.hpp>
#include <chrono>
#include <filesystem>

namespace caged::vmm::qemu {

class control {
 public:
  static result<control> open(const std::filesystem::path& folder);
  // Waits until the guest has booted and is held.
  result<void> wait_ready(std::chrono::milliseconds deadline);
  // Null goes on as before. Returns what the guest answers.
  result<json> go(const json& word, std::chrono::milliseconds deadline);
  // On return nothing of the user's runs and nothing is under way on the port.
  result<void> hold(std::chrono::milliseconds deadline);

 private:
  explicit control(owned_fd socket) : socket_(std::move(socket)) {}
  struct told {
    bool held = false;
    json message;
  };
  result<told> next(std::chrono::steady_clock::time_point until);

  owned_fd socket_;
  wire::decoder decoder_;
  wire::message_joiner joiner_;
};

}  // namespace caged::vmm::qemu
