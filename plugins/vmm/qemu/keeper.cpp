#include "keeper.hpp"

#include "files.hpp"
#include "sockets.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace caged::vmm::qemu {
namespace {

error gone(const std::string& id) {
  return fail(errc::not_found, "no_box", "the qemu backend has no box \"" + id + "\"", "List sandboxes.");
}

probe file_probe(const char* name, const char* needs, const std::filesystem::path& file, const char* remedy) {
  std::error_code ec;
  const bool there = !file.empty() && std::filesystem::exists(file, ec);
  return {name, needs, there, true, there ? file.string() : file.empty() ? "none" : "there is no " + file.string(), remedy};
}

bool on_path(const char* program) {
  std::error_code ec;
  for (const char* folder : {"/usr/bin/", "/usr/sbin/", "/sbin/", "/bin/", "/usr/local/bin/", "/usr/local/sbin/"})
    if (std::filesystem::exists(std::string(folder) + program, ec)) return true;
  return false;
}

}  // namespace

keeper::keeper(settings options, host& from) : options_(std::move(options)), host_(from) {}
keeper::~keeper() { close(); }

result<void> keeper::open() {
  std::error_code ec;
  for (const char* name : {"boxes", "bases", "snapshots", "images"}) {
    std::filesystem::create_directories(options_.data / name, ec);
    if (ec) return errno_error(ec.value(), "make " + (options_.data / name).string());
  }
  if (::chmod(options_.data.c_str(), 0700) != 0) return errno_error(errno, "guard " + options_.data.string());
  if (options_.kernel.empty() || !std::filesystem::exists(options_.program)) return {};  // doctor and make() say so
  const std::string now = fingerprint_of(options_.agent) + fingerprint_of(options_.modules / "modules.dep");
  if (auto made = read_json(options_.data / "initrd.json"); made && made->value("of", "") == now) return {};
  if (auto made = write_initrd(options_, options_.data / "initrd"); !made) {
    host_.log(log_level::warn, "no virtual machine can start: " + describe(made.error()));
    return {};
  }
  std::filesystem::permissions(options_.data / "initrd", std::filesystem::perms(0444), ec);
  return write_text(options_.data / "initrd.json", to_text({{"of", now}}));
}

result<std::shared_ptr<box>> keeper::find(const std::string& id) {
  const std::lock_guard lock(guard_);
  const auto found = live_.find(id);
  if (found == live_.end()) return gone(id);
  return found->second;
}

result<owned_fd> keeper::try_connect(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  {
    const std::lock_guard lock((*b)->guard);
    if ((*b)->paused) return fail(errc::conflict, "sandbox_paused", "the box \"" + id + "\" is paused", "Resume it.");
  }
  auto made = try_connect_at(folder(id), "agent.sock");
  if (made) return made;
  return fail(errc::unavailable, "sandbox_lost", "the virtual machine of the box \"" + id + "\" has ended",
              "Make a new sandbox.");
}

result<box_usage> keeper::usage(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  pid_t machine = 0;
  {
    const std::lock_guard lock((*b)->guard);
    machine = (*b)->now.machine;
  }
  box_usage out;
  out.disk_bytes = disk_usage(folder(id) / "disk");
  std::ifstream stat("/proc/" + std::to_string(machine) + "/stat");
  std::string line;
  if (machine != 0 && std::getline(stat, line)) {
    std::istringstream rest(line.substr(line.rfind(')') + 2));
    std::string word;
    std::uint64_t user = 0, system = 0;
    for (int i = 0; i < 11; ++i) rest >> word;
    rest >> user >> system;
    const auto tick = std::chrono::microseconds(1'000'000 / ::sysconf(_SC_CLK_TCK));
    out.cpu_user = tick * static_cast<std::int64_t>(user);
    out.cpu_system = tick * static_cast<std::int64_t>(system);
  }
  // What the clone has of its own: pages it shares with its template cost nothing.
  std::ifstream status("/proc/" + std::to_string(machine) + "/status");
  for (; machine != 0 && std::getline(status, line);) {
    std::uint64_t kib = 0;
    if (std::sscanf(line.c_str(), "RssAnon: %lu", &kib) == 1) out.memory_bytes = kib * 1024;
  }
  return out;
}

keeper::watch keeper::look(box& b, std::int64_t pid) {
  const std::lock_guard lock(b.guard);
  return !b.destroyed && (b.replacing || b.paused || b.now.relay != pid) ? watch::replaced : watch::ended;
}

box_end keeper::end_of(box& b) {
  {
    const std::lock_guard lock(b.guard);
    if (b.destroyed) return {"destroyed", 0, false};
  }
  std::ifstream in(folder(b.id) / "end");
  std::string how;
  int number = 0;
  in >> how >> number;
  if (how == "killed") return {"killed", number, true};
  // A machine that ends by itself has been switched off from the inside, or its agent has failed: no exit code.
  if (how == "exited") return {"exited", number << 8, true};
  return {"lost", 0, false};
}

result<std::vector<std::string>> keeper::images() {
  std::vector<std::string> out;
  for (const auto& [name, path] : options_.templates) out.push_back(name);
  return out;
}

result<std::vector<probe>> keeper::probe_machine() {
  std::vector<probe> out;
  out.push_back(file_probe("qemu", "QEMU for x86-64 guests", options_.program, "Install qemu-system-x86."));
  out.push_back(file_probe("kernel", "a kernel for the guests", options_.kernel,
                           "Install linux-image-cloud-amd64, or set plugins.vmm.qemu.kernel."));
  out.push_back(file_probe("modules", "its modules", options_.modules, "Install linux-image-cloud-amd64."));
  const bool tools = on_path("mkfs.erofs") && on_path("mke2fs");
  out.push_back({"tools", "mkfs.erofs and mke2fs, to make images and disks", tools, true,
                 tools ? "both are there" : "not both are there", "Install erofs-utils and e2fsprogs."});
  const bool any = !options_.templates.empty();
  out.push_back({"templates", "a root file system for the guests", any, true,
                 any ? std::to_string(options_.templates.size()) + " configured" : "none is configured",
                 "Name a folder with a root file system in plugins.vmm.qemu.templates."});
  const bool able = out[0].available && out[1].available && out[2].available;
  auto boots = able ? boots_with_kvm() : result<bool>(false);
  const bool kvm = boots && *boots;
  out.push_back({"kvm", "a guest that really boots with KVM", kvm, false,
                 kvm                                    ? "a guest was booted"
                 : ::access("/dev/kvm", R_OK | W_OK) != 0 ? "/dev/kvm cannot be opened; machines are translated (TCG)"
                                                          : "/dev/kvm opens, but no guest boots; machines are translated (TCG)",
                 "Use a machine with hardware virtualisation, or nested virtualisation switched on."});
  return out;
}

box_info describe_box(box& b, accelerator by) {
  const std::lock_guard lock(b.guard);
  box_info info;
  info.id = b.id;
  info.state = b.paused ? box_state::paused : box_state::running;
  info.pid = b.now.machine;
  info.walls = {"virtual_machine", "pidns", "mountns", "netns", "ipcns", "utsns", "own_root", "no_new_privs",
                "capabilities", "seccomp", "landlock"};
  info.walls.push_back(::geteuid() == 0 ? "own_user" : "userns");
  info.detail = {{"backend", "qemu"},
                 {"accelerator", by == accelerator::kvm ? "kvm" : "tcg"},
                 {"image", b.hardware.image},
                 {"memory_mib", b.hardware.memory_mib},
                 {"cpus", b.hardware.cpus}};
  return info;
}

}  // namespace caged::vmm::qemu
