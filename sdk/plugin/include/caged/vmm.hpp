// Kind "vmm": a backend that makes boxes. A box is an agent behind a byte stream; everything else is the agent's
// protocol and identical on every backend.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <caged/plugin.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace caged {

// What a box is to be. All of it is decided by core before make(); a backend that cannot honour a field refuses.
struct box_spec {
  std::string id;                // the sandbox's id; also the host name inside
  std::string image = "host";    // template
  std::string snapshot;          // the files are those of this snapshot of the same backend; empty: the template's
  double cpus = 2;               // share of processors, 0.1 ..
  std::uint64_t memory_bytes = 512ull << 20;
  std::uint64_t disk_bytes = 5ull << 30;
  std::uint32_t max_processes = 4096;  // tasks: processes and threads
  std::string network_mode = "none";   // none, allowlist, full
  std::map<std::string, std::string> env;  // for every process the agent starts; nothing else of the host's leaks in
  std::vector<std::string> accept_missing; // walls whose absence the configuration accepts, e.g. "cgroup.memory"
};

enum class box_state : std::uint8_t { unset = 0, running, paused, lost };

struct box_info {
  std::string id;
  box_state state = box_state::running;
  std::int64_t pid = 0;               // of the box's first process on the host, 0 when there is none
  std::vector<std::string> walls;     // what stands around it, by name: "userns", "seccomp" …
  std::vector<std::string> missing;   // what does not, and was accepted
  json detail = json::object();       // for people; no secrets
};

// Counters taken by the host at the boundary, since the box was made. A field that this machine cannot count is absent.
struct box_usage {
  std::optional<std::chrono::microseconds> cpu_user, cpu_system;
  std::optional<std::uint64_t> memory_bytes, memory_peak_bytes;
  std::optional<std::uint64_t> tasks, tasks_peak;
  std::optional<std::uint64_t> tasks_started;  // processes and threads since the start
  std::optional<std::uint64_t> disk_bytes;  // written by the box and still there
  std::optional<std::uint64_t> oom_kills;
};

// Why a box ended, as far as the host saw it.
struct box_end {
  std::string reason;  // "destroyed", "out_of_memory", "killed", "exited", "lost"
  int status = 0;  // wait status of the first process where it was waited for
  bool waited = false;  // false: nobody could wait for it (adopted after a restart); status says nothing
};

// A change in a box's file system, seen from the host.
struct box_change {
  std::string path;  // inside the box, absolute
  enum class kind : std::uint8_t { unset = 0, created, modified, deleted } what = kind::created;
  std::uint64_t size = 0;
};

// What a snapshot holds: the files that a box has written on top of its template.
struct snapshot_info {
  std::uint64_t bytes = 0;  // on disk, were nothing shared
};

// One wall, device or ability and whether this machine gives it: for `caged doctor`.
struct probe {
  std::string name;  // "userns", "cgroup.memory"
  std::string needs;  // what it needs of the machine
  bool available = false;
  bool required = true;  // its absence refuses a box unless accepted
  std::string found;  // what was found
  std::string remedy;  // how to get it
};

using box_stream = asio::generic::stream_protocol::socket;

// Methods may be awaited concurrently for different boxes; core never overlaps two for one box, except connect(),
// usage() and wait(). Every method on an unknown id is not_found. A backend keeps what it needs on disk, so that
// adopt() finds the boxes of a dead host.
class vmm_backend : public plugin {
 public:
  static constexpr std::string_view interface_name = "caged.vmm.v1";

  // Makes the box and starts the agent in it. On return connect() works. A failure leaves nothing behind.
  virtual task<box_info> make(box_spec spec) = 0;
  // A fresh byte stream to the agent. Several may be open.
  virtual task<box_stream> connect(std::string id) = 0;
  // Kills everything inside and releases every resource: processes, mounts, cgroups, files. Idempotent.
  virtual task<void> destroy(std::string id) = 0;
  virtual task<box_usage> usage(std::string id) = 0;
  // Completes when the box has ended, whoever ended it.
  virtual task<box_end> wait(std::string id) = 0;
  // Called once after open(): takes over boxes whose id is in `known`, sweeps every other leftover of this backend
  // (processes, mounts, cgroups, folders) and returns those taken over.
  virtual task<std::vector<box_info>> adopt(std::vector<std::string> known) = 0;
  // Templates it can make a box of.
  virtual task<std::vector<std::string>> images() = 0;
  virtual task<std::vector<probe>> probe_machine() = 0;

  // Abilities a backend may lack; the base answers unsupported, naming the backend.
  virtual task<void> pause(std::string id);
  virtual task<void> resume(std::string id);
  // Keeps the files of a box, running or paused, as they are at one moment, under a new id. After a crash there is a
  // whole snapshot or none. limit_exceeded when it would hold more than `most_bytes`.
  virtual task<snapshot_info> snapshot(std::string id, std::string snapshot_id, std::uint64_t most_bytes);
  // Puts a box with the files of `spec.snapshot` in the place of the living box `spec.id`, whose processes end. A
  // failure or a crash leaves the old box or the new one.
  virtual task<box_info> restore(box_spec spec);
  // Idempotent. Boxes that were made of it are not touched.
  virtual task<void> remove_snapshot(std::string snapshot_id);
  // Marks the file system as it is now; changes() lists what differs since the last mark (or the start).
  virtual task<void> mark_files(std::string id);
  virtual task<std::vector<box_change>> changes(std::string id);
};

}  // namespace caged
