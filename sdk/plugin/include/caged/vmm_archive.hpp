// An optional interface of a vmm backend: snapshots as archives, out of the machine and into it.
#pragma once

#include <caged/vmm.hpp>
#include <string_view>

namespace caged {

// A .tar.gz holds what the snapshot changes in the template, under the names inside the box, with modes, owners,
// extended attributes, links and holes; deletions are `.wh.NAME` entries as in an OCI layer. Methods may be awaited
// concurrently; cancelling one does not end the work on `fd`, closing the other end does.
class vmm_archive {
 public:
  static constexpr std::string_view interface_name = "caged.vmm_archive.v1";
  virtual ~vmm_archive() = default;

  // Writes the archive to `fd` (a pipe), which it owns and closes. not_found for an unknown snapshot.
  virtual task<void> export_snapshot(std::string snapshot_id, int fd) = 0;
  // Reads an archive that anybody may have made from `fd`, which it owns and closes. Names that lead out, devices and
  // archives that unpack to more than `most_bytes` are refused; a failure leaves nothing.
  virtual task<snapshot_info> import_snapshot(std::string snapshot_id, int fd, std::uint64_t most_bytes) = 0;
};

}  // namespace caged
