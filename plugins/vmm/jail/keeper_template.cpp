// Templates that the host offers beside its own folders.
#include "keeper.hpp"

#include <dirent.h>
#include <fcntl.h>

namespace caged::vmm::jail {

result<void> keeper::offer(const std::vector<vmm_template>& all) {
  std::map<std::string, host_template> next;
  for (const auto& t : all) {
    auto made = folder_template(t.root);
    if (made)
      next[t.name] = std::move(*made);
    else
      host_.log(log_level::warn, "the template " + t.name + " is left out: " + describe(made.error()));
  }
  const std::lock_guard lock(guard_);
  offered_ = std::move(next);
  return {};
}

std::vector<std::string> keeper::images() {
  std::vector<std::string> out{"host"};
  const std::lock_guard lock(guard_);
  for (const auto& [name, t] : offered_) out.push_back(name);
  return out;
}

result<host_template> keeper::template_of(const std::string& image) {
  if (image == "host") return template_;
  std::string known = "host";
  {
    const std::lock_guard lock(guard_);
    if (const auto found = offered_.find(image); found != offered_.end()) return found->second;
    for (const auto& [name, t] : offered_) known += ", " + name;
  }
  return fail(errc::not_found, "unknown_template", "the jail has no template \"" + image + "\"",
              "Use one of: " + known + "; or build it: `caged template build " + image + "`.", "/template");
}

std::vector<std::string> keeper::roots_in_use() {
  std::set<std::string> roots;
  const auto add = [&roots](const std::vector<layer>& layers) {
    for (const auto& l : layers) roots.insert(std::filesystem::path(l.source).parent_path());
  };
  std::vector<std::shared_ptr<box>> boxes;
  {
    const std::lock_guard lock(guard_);
    for (const auto& [id, b] : live_) boxes.push_back(b);
  }
  for (const auto& b : boxes) {
    const std::lock_guard lock(b->guard);
    add(b->record.layers);
  }
  const int copy = ::openat(snapshots_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  for (const dirent* e = entries ? ::readdir(entries) : nullptr; e != nullptr; e = ::readdir(entries)) {
    if (auto kept = find_snapshot(e->d_name)) add(kept->layers);
  }
  if (entries != nullptr) ::closedir(entries);
  return {roots.begin(), roots.end()};
}

}  // namespace caged::vmm::jail
