// The files that machines are made of: initial file system, root images, disks, and copies of sparse files.
#pragma once

#include "config.hpp"

#include <caged/owned_fd.hpp>
#include <caged/result.hpp>

namespace caged::vmm::qemu {

// The agent and the modules that a guest needs, as the kernel wants them (a cpio archive).
result<void> write_initrd(const settings& s, const std::filesystem::path& to);
// A read-only image of everything below `folder`, owners and modes kept. Appears whole or not at all.
result<void> write_image(const std::filesystem::path& folder, const std::filesystem::path& to);
// An empty ext4 file system in a sparse file.
result<void> write_disk(std::uint64_t bytes, const std::filesystem::path& to);
// Shares blocks where the file system can, else copies what is not a hole.
result<void> copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to);
// Bytes on disk.
std::uint64_t disk_usage(const std::filesystem::path& file);

result<void> write_text(const std::filesystem::path& file, const std::string& text);
result<json> read_json(const std::filesystem::path& file);
// Identifies a program or image by what changes when it is replaced.
std::string fingerprint_of(const std::filesystem::path& file);
// Runs a program of the host with nothing on its descriptors; its output is in the error.
result<void> run_program(const std::vector<std::string>& argv);

}  // namespace caged::vmm::qemu
