// Unix sockets in folders of any depth, and waiting on them with a deadline.
#pragma once

#include <caged/owned_fd.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace caged::vmm::qemu {

// Binds and listens at `folder`/`name`.
result<owned_fd> listen_at(const std::filesystem::path& folder, const std::string& name);
// Connects to `folder`/`name` without waiting; -EAGAIN as an empty descriptor.
result<owned_fd> try_connect_at(const std::filesystem::path& folder, const std::string& name);
// Connects, waiting while the other end's queue is full. The socket blocks.
result<owned_fd> connect_at(const std::filesystem::path& folder, const std::string& name,
                            std::chrono::milliseconds deadline);
// True when `events` (poll's) came, false when the time is over.
bool wait_for(int fd, short events, std::chrono::steady_clock::time_point until);
// Sends all of `text`, the descriptor (-1: none) with its first byte.
result<void> send_with(int socket, std::string_view text, int descriptor);

}  // namespace caged::vmm::qemu
