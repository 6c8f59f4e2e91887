// After a restart: takes over what lives and is wanted, sweeps the rest.
#include "files.hpp"
#include "keeper.hpp"

#include <dirent.h>
#include <fcntl.h>

namespace caged::vmm::jail {
namespace {

std::vector<std::string> names_in(int dir) {
  std::vector<std::string> out;
  const int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return out;
  DIR* stream = ::fdopendir(copy);
  if (stream == nullptr) {
    ::close(copy);
    return out;
  }
  while (const dirent* e = ::readdir(stream)) {
    const std::string name = e->d_name;
    if (name != "." && name != "..") out.push_back(name);
  }
  ::closedir(stream);
  return out;
}

}  // namespace

std::shared_ptr<box> keeper::try_adopt(const std::string& id) {
  unique_fd dir(open_folder(boxes_.get(), id.c_str()));
  if (!dir) return nullptr;
  auto text = read_small_file_at(dir.get(), "box.json");
  if (!text) return nullptr;
  auto record = box_record::parse(*text);
  if (!record || record->id != id || (record->phase != "running" && record->phase != "paused")) return nullptr;
  auto b = std::make_shared<box>();
  b->pidfd = open_process(record->process);
  if (!b->pidfd) return nullptr;
  b->id = id;
  b->adopted = true;
  b->record = std::move(*record);
  if (auto mark = read_small_file_at(dir.get(), "mark", 512u << 20)) b->mark = decode_manifest(*mark);
  if (!resume_evidence(*b)) return nullptr;
  return b;
}

// A folder of the boxes' folder that is nobody's: its record says which process and which cgroups go with it.
result<void> keeper::sweep(const std::string& name) {
  unique_fd process;
  box_cgroup cgroup;
  if (unique_fd dir(open_folder(boxes_.get(), name.c_str())); dir) {
    if (auto text = read_small_file_at(dir.get(), "box.json")) {
      if (auto record = box_record::parse(*text)) {
        process = open_process(record->process);
        cgroup = record->cgroup;
        if (witness_ && record->witness != 0) witness_->drop(record->witness);
      }
    }
  }
  const auto all = cgroups_.list();
  if (const auto found = all.find(name); found != all.end())
    cgroup.folders.insert(found->second.folders.begin(), found->second.folders.end());
  return release(name, process.get(), cgroup);
}

void keeper::sweep_cgroups() {
  for (const auto& [id, group] : cgroups_.list()) {
    {
      const std::lock_guard lock(guard_);
      if (making_.count(id) != 0) continue;
      // A box that was made ahead has a name now, and its groups have the old one.
      const auto owns = [&group = group](const auto& entry) {
        return entry.second->record.cgroup.folders == group.folders;
      };
      if (std::any_of(live_.begin(), live_.end(), owns)) continue;
    }
    group.kill_all();
    if (auto removed = group.remove(std::chrono::seconds(5)); !removed)
      host_.log(log_level::warn, describe(removed.error()));
  }
}

result<std::vector<box_info>> keeper::adopt(const std::vector<std::string>& known) {
  std::vector<box_info> out;
  std::vector<std::string> used{template_.etc_folder};
  for (const auto& name : names_in(boxes_.get())) {
    {
      const std::lock_guard lock(guard_);
      if (live_.count(name) != 0 || making_.count(name) != 0) continue;
    }
    const bool wanted = std::find(known.begin(), known.end(), name) != known.end();
    if (auto b = wanted ? try_adopt(name) : nullptr) {
      out.push_back(describe_box(b->record));
      used.push_back(b->record.etc_folder);
      const std::lock_guard lock(guard_);
      if (b->record.slot >= 0) slots_.insert(b->record.slot);
      live_[name] = std::move(b);
      continue;
    }
    if (auto swept = sweep(name); !swept)
      host_.log(log_level::warn, "cannot sweep the box " + name + ": " + describe(swept.error()));
  }
  sweep_cgroups();
  for (const auto& name : names_in(trash_.get())) {
    if (auto removed = empty_trash(name); !removed) host_.log(log_level::warn, describe(removed.error()));
  }
  {
    const std::lock_guard lock(guard_);
    for (const auto& [id, b] : live_) used.push_back(b->record.etc_folder);
  }
  for (auto& etc : sweep_snapshots()) used.push_back(std::move(etc));
  remove_old_templates(options_.data / "templates", used);
  return out;
}

result<unique_fd> keeper::open_fs(const std::string& id) const {
  unique_fd dir(open_folder(boxes_.get(), id.c_str()));
  unique_fd fs(dir ? open_folder(dir.get(), "fs") : -1);
  if (!fs) return errno_error(errno, "open the sandbox's folder");
  return fs;
}

result<void> keeper::mark_files(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  auto fs = open_fs(id);
  if (!fs) return fs.error();
  manifest mark = to_manifest(scan(fs->get(), (*b)->record.layers));
  unique_fd dir(open_folder(boxes_.get(), id.c_str()));
  if (auto kept = write_atomically(dir.get(), "mark", encode(mark)); !kept) return kept;
  files_.set_start((*b)->record.process.pid, mark);
  const std::lock_guard lock((*b)->guard);
  (*b)->mark = std::move(mark);
  return {};
}

result<std::vector<box_change>> keeper::changes(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  auto fs = open_fs(id);
  if (!fs) return fs.error();
  const box_files now = scan(fs->get(), (*b)->record.layers);
  const std::lock_guard lock((*b)->guard);
  return difference((*b)->mark, now);
}

}  // namespace caged::vmm::jail
