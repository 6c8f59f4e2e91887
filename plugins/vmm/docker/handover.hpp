// Hands the agent in a container its listening socket, so that the socket lies in no folder that the box can see.
#pragma once

#include <caged/owned_fd.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include <sys/types.h>

namespace caged::vmm::docker {

// Binds and listens at `folder`/`name`, however long the path is.
result<owned_fd> listen_at(const std::filesystem::path& folder, const std::string& name);
// Connects to `folder`/`name` without waiting; -EAGAIN as an empty descriptor.
result<owned_fd> connect_at(const std::filesystem::path& folder, const std::string& name);
result<owned_fd> environment_file(const std::map<std::string, std::string>& env);

// Waits on `start` for the first process of the box, gives it `listen` and `env`, and waits until it says that it is
// ready. `alive` is asked now and then. Returns the process's number on the host. Blocks.
result<pid_t> hand_over(int start, int listen, int env, std::chrono::milliseconds deadline,
                        const std::function<result<void>()>& alive);

// A descriptor of the process that must be `pid`, empty when it is gone.
owned_fd open_process(pid_t pid);

}  // namespace caged::vmm::docker
