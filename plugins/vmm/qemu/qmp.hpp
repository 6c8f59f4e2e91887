// QEMU's monitor: one command at a time over its Unix socket; blocking, with a deadline.
#pragma once

#include <caged/json.hpp>
#include <caged/owned_fd.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <filesystem>

namespace caged::vmm::qemu {

class qmp {
 public:
  // Connects to `folder`/qmp.sock and agrees on the protocol.
  static result<qmp> open(const std::filesystem::path& folder, std::chrono::milliseconds deadline);

  result<json> call(const char* command, json arguments = json::object());
  // The same with a descriptor beside the command.
  result<json> call_with(int descriptor, const char* command, json arguments = json::object());

 private:
  qmp(owned_fd socket, std::chrono::milliseconds deadline) : socket_(std::move(socket)), deadline_(deadline) {}
  result<json> line();

  owned_fd socket_;
  std::chrono::milliseconds deadline_;
  std::string buffer_;
};

}  // namespace caged::vmm::qemu
