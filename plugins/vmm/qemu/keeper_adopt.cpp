// The end of boxes, and what a host finds after one before it died.
#include "files.hpp"
#include "keeper.hpp"
#include "sockets.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <fstream>
#include <iterator>

namespace caged::vmm::qemu {
namespace {

box_spec read_spec(const json& value) {
  box_spec spec;
  spec.id = value.at("id").get<std::string>();
  spec.image = value.at("image").get<std::string>();
  spec.snapshot = value.value("snapshot", "");
  spec.cpus = value.at("cpus").get<double>();
  spec.memory_bytes = value.at("memory").get<std::uint64_t>();
  spec.disk_bytes = value.at("disk").get<std::uint64_t>();
  spec.max_processes = value.at("processes").get<std::uint32_t>();
  spec.network_mode = value.at("network").get<std::string>();
  spec.env = value.at("env").get<std::map<std::string, std::string>>();
  spec.accept_missing = value.at("accept_missing").get<std::vector<std::string>>();
  return spec;
}

std::string name_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/comm");
  std::string out;
  std::getline(in, out);
  return out;
}

// A number in a record may be another process's by now: only what holds an open file of this folder is ours.
bool holds(pid_t pid, const std::filesystem::path& folder) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", ec)) {
    const auto target = std::filesystem::read_symlink(entry.path(), ec);
    if (!ec && (target == folder / "end" || target == folder / "disk")) return true;
  }
  return false;
}

// Relays and machines that work in `folder`, whatever a record says.
void end_processes_of(const std::filesystem::path& folder) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ec)) {
    const std::string text = entry.path().filename().string();
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = static_cast<pid_t>(std::stol(text));
    const std::string name = name_of(pid);
    if (!name.starts_with("caged-qemu") && !name.starts_with("qemu-system")) continue;
    const owned_fd process = open_process(pid);
    if (!process || !holds(pid, folder)) continue;
    ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    wait_for(process.get(), 1 /* POLLIN */, std::chrono::steady_clock::now() + std::chrono::seconds(5));
  }
}

}  // namespace

// Removes a folder and what runs in it.
void keeper::sweep(const std::filesystem::path& where) {
  std::error_code ec;
  if (!std::filesystem::exists(where, ec)) return;
  if (std::filesystem::exists(where / "end", ec)) end_processes_of(where);
  std::filesystem::remove_all(where, ec);
}

result<void> keeper::destroy(const std::string& id) {
  auto b = find(id);
  if (!b) {
    const std::lock_guard lock(guard_);
    if (gone_.count(id) != 0) return {};
    return b.error();
  }
  running ended;
  {
    const std::lock_guard lock((*b)->guard);
    (*b)->destroyed = true;
    // The descriptor stays with the box for those who wait on it.
    ended.process = open_process((*b)->now.relay);
    ended.vm = open_process((*b)->now.machine);
  }
  kill_machine(ended);
  std::error_code ec;
  std::filesystem::remove_all(folder(id), ec);
  const std::lock_guard lock(guard_);
  live_.erase(id);
  gone_.insert(id);
  return {};
}

std::shared_ptr<box> keeper::try_adopt(const std::string& id) {
  const auto where = folder(id);
  auto record = read_json(where / "box.json");
  if (!record) return nullptr;
  try {
    auto b = std::make_shared<box>();
    b->id = id;
    b->spec = read_spec(*record);
    if (b->spec.id != id) return nullptr;
    b->hardware = shape::from_json(record->at("hardware"));
    b->uid = record->at("uid").get<std::uint32_t>();
    b->machine_id = record->at("machine_id").get<std::string>();
    b->boot_id = record->at("boot_id").get<std::string>();
    // The paused state counts from the moment its memory is whole.
    b->paused = b->replacing = std::filesystem::exists(where / "paused");
    b->now.relay = record->at("relay").get<pid_t>();
    b->now.machine = record->at("machine").get<pid_t>();
    b->now.process = open_process(b->now.relay);
    b->now.vm = open_process(b->now.machine);
    const bool there = b->now.process && b->now.vm && holds(b->now.relay, where);
    if (b->paused) {
      if (there) kill_machine(b->now);
      b->now = running();
      return b;
    }
    if (!there || !try_connect_at(where, "agent.sock")) return nullptr;
    return b;
  } catch (const json::exception& e) {
    host_.log(log_level::warn, "the record of the box " + id + " cannot be read: " + e.what());
    return nullptr;
  }
}

result<std::vector<box_info>> keeper::adopt(const std::vector<std::string>& known) {
  std::vector<box_info> out;
  std::error_code ec;
  for (const std::string& id : known)
    if (!std::filesystem::exists(folder(id), ec) && std::filesystem::exists(folder(id + "~next"), ec))
      std::filesystem::rename(folder(id + "~next"), folder(id), ec);  // the host died in the middle of a restore
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(options_.data / "boxes", ec)) folders.push_back(entry.path());
  for (const auto& where : folders) {
    const std::string id = where.filename().string();
    {
      const std::lock_guard lock(guard_);
      const bool ours = std::any_of(spares_.begin(), spares_.end(), [&](const auto& s) { return s->folder == where; });
      if (ours || live_.count(id) != 0 || making_.count(id) != 0) continue;
    }
    const bool wanted = std::find(known.begin(), known.end(), id) != known.end();
    if (auto b = wanted ? try_adopt(id) : nullptr) {
      out.push_back(describe_box(*b, engine()));
      const std::lock_guard lock(guard_);
      live_[id] = std::move(b);
      continue;
    }
    sweep(where);
  }
  for (const char* kind : {"bases", "snapshots"})
    for (const auto& entry : std::filesystem::directory_iterator(options_.data / kind, ec))
      if (entry.path().extension() == ".part") sweep(entry.path());
  return out;
}

}  // namespace caged::vmm::qemu
