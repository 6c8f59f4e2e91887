// The blocking half of the backend: boxes, what they are cloned from, snapshots. Every method may block; pool only.
#pragma once

#include "config.hpp"
#include "machine.hpp"

#include <atomic>
#include <caged/vmm.hpp>
#include <caged/vmm_standing.hpp>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

namespace caged::vmm::qemu {

// Memory, state of the devices and disk of a machine at one moment: what machines of its shape begin with.
struct base {
  std::filesystem::path folder;
  shape hardware;
};

struct box {
  std::string id;  // constant

  // Guarded by `guard`, which is never held while a machine is asked.
  std::mutex guard;
  box_spec spec;
  shape hardware;
  running now;
  std::uint32_t uid = 0;
  std::string machine_id, boot_id;
  bool paused = false, destroyed = false;
  bool replacing = false;  // another machine is being put in its place, or it is on its way to disk or back
};

class keeper {
 public:
  keeper(settings options, host& from);
  ~keeper();

  result<void> open();
  void close();

  result<box_info> make(const box_spec& spec);
  result<void> destroy(const std::string& id);
  result<std::vector<box_info>> adopt(const std::vector<std::string>& known);
  result<box_usage> usage(const std::string& id);
  // Memory goes to disk and is freed; the box needs no process until resume().
  result<void> pause(const std::string& id);
  result<void> resume(const std::string& id);
  result<snapshot_info> snapshot(const std::string& id, const std::string& snapshot_id, std::uint64_t most_bytes);
  result<box_info> restore(const box_spec& spec);
  result<void> remove_snapshot(const std::string& snapshot_id);
  result<std::vector<std::string>> images();
  result<std::vector<probe>> probe_machine();
  bool accelerated() const noexcept { return kvm_ == 1; }

  result<std::shared_ptr<box>> find(const std::string& id);
  result<owned_fd> try_connect(const std::string& id);
  // Whether this process of the box was its last.
  enum class watch : std::uint8_t { unset = 0, ended, replaced };
  watch look(box& b, std::int64_t pid);
  box_end end_of(box& b);

 private:
  // keeper_base.cpp
  result<std::filesystem::path> image(const std::string& name);
  result<base> template_base(const shape& wanted);
  result<void> cold_boot(const shape& wanted, const std::filesystem::path& image, const std::filesystem::path& folder);
  result<base> base_of(const box_spec& spec);
  static error with_last_words(error e, const std::filesystem::path& where);
  result<bool> boots_with_kvm();
  accelerator engine();

  // keeper_make.cpp
  result<void> check(const box_spec& spec) const;
  shape shape_of(const box_spec& spec) const;
  // A clone of `from` in `folder`: stands still with its state loaded.
  result<running> clone(const base& from, const std::filesystem::path& folder, std::uint32_t uid);
  // What the guest is told: who it is. `first`: nothing of an earlier life is to be seen.
  static json word_of(const box& b, bool first);
  // Lets it run as who it is to be.
  result<void> begin(const std::filesystem::path& folder, const box& b, bool first);
  result<void> begin_clone(const base& from, const std::filesystem::path& folder, box& b);
  result<void> write_record(const box& b, const std::filesystem::path& folder) const;
  std::uint32_t new_uid();
  result<running> start(const parts& p, const std::filesystem::path& folder);

  // keeper_warm.cpp
  // Lets a machine that has just booted or been cloned run a command once and hold again: what that touches is then
  // in its memory, and translated.
  result<void> practise(const std::filesystem::path& folder);
  struct spare {
    std::string base;
    std::filesystem::path folder;
    running now;
    std::uint32_t uid = 0;
  };
  std::unique_ptr<spare> take_spare(const base& from);
  void want_spares(const base& from);
  void fill();

  // keeper_snapshot.cpp
  enum class disk : std::uint8_t { unset = 0, stays, copied };
  enum class afterwards : std::uint8_t { unset = 0, goes_on, ends };
  result<void> save(box& b, const std::filesystem::path& to, disk with, afterwards then);
  result<std::uint64_t> save_memory(pid_t machine, const std::filesystem::path& base, const std::filesystem::path& to);

  // keeper_adopt.cpp
  std::shared_ptr<box> try_adopt(const std::string& id);
  void sweep(const std::filesystem::path& folder);

  std::filesystem::path folder(const std::string& id) const { return options_.data / "boxes" / id; }
  std::filesystem::path snapshot_folder(const std::string& id) const { return options_.data / "snapshots" / id; }

  const settings options_;
  host& host_;
  std::atomic<int> kvm_{-1};  // -1: not tried

  std::mutex guard_;  // the members below; never held while blocking
  std::map<std::string, std::shared_ptr<box>> live_;
  std::set<std::string> making_, gone_;
  std::vector<std::unique_ptr<spare>> spares_;
  base wanted_;
  bool filling_ = false, closed_ = false;
  std::thread filler_;
  std::mutex building_;  // one cold boot or image at a time
};

box_info describe_box(box& b, accelerator by);

}  // namespace caged::vmm::qemu
