// The blocking half of the backend: makes, sweeps and removes boxes. Every method may block and runs on the pool.
#pragma once

#include "box.hpp"
#include "config.hpp"
#include "exec_evidence.hpp"
#include "file_evidence.hpp"
#include "warm_boxes.hpp"
#include "witness_link.hpp"

#include <caged/vmm_network.hpp>
#include <caged/vmm_templates.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace caged::vmm::jail {

// A snapshot on disk: snapshots/ID with the volume "fs", "snapshot.json" and "mark".
struct kept_snapshot {
  unique_fd folder, fs;
  std::vector<layer> layers;
  std::string etc_folder;
  std::uint32_t disk_base = 0;
};

// Longer than `bytes` no file gets that the process writes, nor those that it starts; `most` is what it may raise
// that to by itself.
void limit_file_size(pid_t pid, std::uint64_t bytes, std::uint64_t most);

class keeper {
 public:
  explicit keeper(settings options, host& from);

  // Prepares folders, template, filter and cgroups. Nothing else may be called before it succeeded.
  result<void> open();
  void close();

  result<std::shared_ptr<box>> make(const box_spec& spec);
  result<void> destroy(const std::string& id);
  result<std::vector<box_info>> adopt(const std::vector<std::string>& known);
  result<box_usage> usage(const std::string& id);
  result<void> pause(const std::string& id);
  result<void> resume(const std::string& id);
  result<void> mark_files(const std::string& id);
  result<std::vector<box_change>> changes(const std::string& id);
  // keeper_snapshot.cpp
  result<snapshot_info> snapshot(const std::string& id, const std::string& snapshot_id, std::uint64_t most_bytes);
  result<std::shared_ptr<box>> restore(const box_spec& spec);
  result<void> remove_snapshot(const std::string& snapshot_id);
  result<void> export_snapshot(const std::string& snapshot_id, unique_fd to);
  result<snapshot_info> import_snapshot(const std::string& snapshot_id, unique_fd from, std::uint64_t most_bytes);
  // keeper_template.cpp
  result<void> offer(const std::vector<vmm_template>& all);
  std::vector<std::string> images();
  std::vector<std::string> roots_in_use();
  result<std::vector<probe>> probe_machine();
  result<box_gate> open_gate(const std::string& id);
  result<std::vector<owned_fd>> inner_sockets(const std::string& id, int family, unsigned count);

  result<std::shared_ptr<box>> find(const std::string& id);
  // One attempt to connect to the agent; `again` when its queue of connections is full.
  enum class attempt : std::uint8_t { unset = 0, connected, again };
  result<attempt> try_connect(const std::string& id, unique_fd& out);
  // What is known once the first process has ended.
  box_end end_of(box& b);

 private:
  struct parts;  // what a box is made of until it stands

  result<void> check(const box_spec& spec);
  result<host_template> template_of(const std::string& image);
  result<std::shared_ptr<box>> make_reserved(const box_spec& spec);
  result<void> build(const box_spec& spec, box& b, parts& p);
  // The files a box begins with: the template's, or a snapshot's.
  result<void> fill_folder(const box_spec& spec, box& b, parts& p);
  result<void> prepare_folder(const box_spec& spec, box& b, parts& p);
  result<void> start(const box_spec& spec, box& b, parts& p);
  result<void> await_ready(box& b, int from) const;
  void abandon(const std::string& id, box& b);
  result<warm_box> make_warm(box_spec spec);
  // keeper_warm.cpp
  void open_warm();
  void discard_warm(warm_box w);
  // Null: there is none that fits.
  std::shared_ptr<box> take_warm(const box_spec& spec);
  result<void> name_warm(warm_box& w, const box_spec& spec);
  launch_spec launch_spec_for(const box_spec& spec, const box_record& record) const;
  result<void> write_record(const box_record& record) const;
  // Kills and removes what a record or a name stands for.
  result<void> release(const std::string& id, int pidfd, const box_cgroup& cgroup);
  result<void> sweep(const std::string& name);
  std::shared_ptr<box> try_adopt(const std::string& id);
  void sweep_cgroups();
  result<void> empty_trash(const std::string& name);
  // keeper_snapshot.cpp
  result<void> open_snapshots();
  result<kept_snapshot> find_snapshot(const std::string& snapshot_id) const;
  // Runs `fill` on a new snapshot's folder and gives it its name when that has succeeded.
  result<void> keep_snapshot(const std::string& snapshot_id, const std::function<result<void>(int folder)>& fill);
  std::vector<std::string> sweep_snapshots();
  int take_slot();
  void give_slot(int slot);
  std::vector<std::string> accepted(const box_spec& spec) const;
  result<void> rehearse();
  result<unique_fd> open_fs(const std::string& id) const;
  // keeper_evidence.cpp
  result<void> open_evidence();
  void close_evidence();
  // From here on everything that is executed in the box is a fact of the sandbox.
  result<void> begin_evidence(box& b, unique_fd listener);
  void name_evidence(const box& b);
  void watch_files(const box& b);
  void end_evidence(const box_record& record);
  // Of a box that a host before us made. False: its executions would fail or go unseen, so it cannot be kept.
  bool resume_evidence(box& b);

  // keeper_limits.cpp
  void open_limits();
  void close_limits();
  void look_at_limits();
  void look_at_counters(box& b);
  void look_at_disk(box& b);
  void tell_limit(box& b, const std::string& limit, json more);
  // No file in the box may become longer than this.
  void set_growth(box& b, std::uint64_t most);
  void end_fillers(box& b);

  const settings options_;
  host& host_;
  const bool root_;
  cgroup_tree cgroups_;
  host_template template_;
  unique_fd filter_;
  unique_fd boxes_, trash_, snapshots_;  // folders
  exec_evidence execs_;
  file_evidence files_;
  std::unique_ptr<witness_link> witness_;  // null: executions are not observed

  std::mutex guard_;  // the members below; never held while blocking
  std::map<std::string, std::shared_ptr<box>> live_;
  std::set<std::string> making_;
  std::set<std::string> gone_;  // destroyed here: destroying again is fine
  std::set<int> slots_;
  std::map<std::string, host_template> offered_;  // by name
  std::unique_ptr<warm_boxes> warm_;
  std::mutex limits_guard_;
  std::condition_variable limits_changed_;
  bool limits_closing_ = false;
  std::thread limits_thread_;
};

}  // namespace caged::vmm::jail
