// One server per data folder.
#pragma once

#include <caged/result.hpp>
#include <filesystem>

namespace caged::base {

// Held for the life of the object; the kernel lets go of it with the process, however that ends.
class instance_lock {
 public:
  // Makes the folder (0700) when it is missing. conflict (reason "data_folder_in_use") naming the process that has it.
  static result<instance_lock> take(const std::filesystem::path& data_dir);

  instance_lock(instance_lock&& other) noexcept;
  instance_lock& operator=(instance_lock&& other) noexcept;
  ~instance_lock();

 private:
  explicit instance_lock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace caged::base
