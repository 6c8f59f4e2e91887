// What this machine can give: a table of walls for `caged doctor`.
#include "keeper.hpp"

#include "files.hpp"

#include <linux/seccomp.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>

namespace caged::vmm::jail {
namespace {

struct wall_row {
  const char* name;
  const char* needs;
  const char* remedy;
};

// Walls that the trial of a whole box proves together.
constexpr wall_row tried[] = {
    {"userns", "user namespaces (Linux 5.12 or newer)",
     "Set user.max_user_namespaces above 0; on Debian kernel.unprivileged_userns_clone=1; on Ubuntu allow "
     "caged-jail-launcher in AppArmor."},
    {"netns", "network namespaces", "Use a kernel with CONFIG_NET_NS."},
    {"cgroupns", "cgroup namespaces", "Use a kernel with CONFIG_CGROUPS."},
    {"mount", "overlayfs in user namespaces (Linux 5.11), the mount API, an uncovered /proc",
     "Use Linux 5.12 or newer; in a container, let it see an unmasked /proc."},
    {"no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)", "Use a newer kernel."},
    {"capabilities", "capabilities", "Use a newer kernel."},
    {"rlimit", "resource limits", "Raise the host's own limits."},
    {"seccomp", "seccomp filters", "Use a kernel with CONFIG_SECCOMP_FILTER."},
};

std::string read_line(const char* path) {
  auto text = read_small_file(path);
  if (!text) return {};
  std::string out = *text;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// Which row a failure of the trial belongs to: its message names the wall.
bool names_wall(const error& e, const std::string& wall) {
  return e.message.find("wall " + wall + " ") != std::string::npos;
}

probe landlock_probe() {
  const long abi = ::syscall(444, nullptr, 0, 1);
  probe p{"landlock", "Landlock (Linux 5.13), enabled at boot",
          abi >= 1,   true,
          {},         "Boot with lsm=landlock,… or accept its absence: plugins.vmm.jail.accept_missing."};
  p.found = abi >= 1 ? "ABI " + std::to_string(abi) : std::string("not enabled: ") + std::strerror(errno);
  return p;
}

probe exec_evidence_probe() {
  seccomp_notif_sizes sizes{};
  const bool has = ::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0;
  return {"evidence.exec",
          "seccomp user notification (Linux 5.0)",
          has,
          true,
          has ? "every execution is told to the host" : std::string("not there: ") + std::strerror(errno),
          "Use a newer kernel, or accept its absence: plugins.vmm.jail.accept_missing."};
}

probe file_evidence_probe() {
  const unique_fd queue(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_REPORT_FID, O_RDONLY));
  return {"evidence.files",
          "fanotify with file identifiers (Linux 5.1)",
          static_cast<bool>(queue),
          false,
          queue ? "changes are told as they happen" : std::string("not there: ") + std::strerror(errno),
          "Run the host as root; without it changes are found by comparing folders, and told as that."};
}

// Boxes see the host's clock, which nothing in them may set.
probe time_namespace_probe() {
  const bool has = ::access("/proc/self/ns/time", F_OK) == 0;
  return {"timens", "time namespaces (Linux 5.6)", has, false,
          has ? "offered; boxes share the host's boot time" : "not offered by this kernel", "Use a newer kernel."};
}

probe disk_limit_probe(bool freezes) {
  return {"disk.limit",
          "a control group that can be frozen",
          freezes,
          false,
          freezes ? "no file outgrows the disk; four times a second all are counted, and at the limit none can grow"
                  : "no file outgrows the disk; all of them together are only counted",
          "Run as root, or in a systemd unit with Delegate=yes."};
}

}  // namespace

result<std::vector<probe>> keeper::probe_machine() {
  std::vector<probe> out;
  const auto trial = rehearse();
  for (const auto& row : tried) {
    probe p{row.name, row.needs, true, true, "stands in a trial box", row.remedy};
    if (!trial) {
      p.available = !names_wall(trial.error(), row.name);
      p.found = p.available ? "not reached: the trial box failed earlier" : trial.error().message;
    }
    out.push_back(std::move(p));
  }
  if (!trial)
    out.push_back({"trial", "a box can be made and its first process started", false, true, trial.error().message,
                   trial.error().action});
  out[0].found += "; user.max_user_namespaces is " + read_line("/proc/sys/user/max_user_namespaces");
  out.push_back(landlock_probe());
  for (const char* controller : {"memory", "cpu", "pids", "freezer"}) {
    const auto found = cgroups_.places().find(controller);
    const auto unified = cgroups_.places().find("unified");
    probe p{
        std::string("cgroup.") + controller,
        std::string("a writable cgroup with the controller ") + controller,
        false,
        true,
        {},
        "Run as root, or in a systemd unit with Delegate=yes; or accept its absence: plugins.vmm.jail.accept_missing."};
    const bool by_v2 =
        std::string(controller) == "freezer" && unified != cgroups_.places().end() && unified->second.refusal.empty();
    if (found != cgroups_.places().end()) {
      p.available = found->second.refusal.empty();
      p.found = p.available ? (found->second.v2 ? "version 2, " : "version 1, ") + found->second.folder
                            : found->second.refusal;
    } else {
      p.available = by_v2;
      p.found = by_v2 ? "version 2, " + unified->second.folder : "no such hierarchy is mounted";
    }
    if (std::string(controller) == "freezer") p.required = false;
    out.push_back(std::move(p));
  }
  const bool freezes = std::any_of(out.begin(), out.end(),
                                   [](const probe& p) { return p.name == "cgroup.freezer" && p.available; });
  out.push_back(exec_evidence_probe());
  out.push_back(file_evidence_probe());
  out.push_back(time_namespace_probe());
  out.push_back(disk_limit_probe(freezes));
  probe ids{"userns.range",
            "a range of 65536 user ids for each box",
            root_,
            false,
            root_ ? "from " + std::to_string(options_.uid_base) + " on" : "an ordinary user maps himself only",
            "Run the host as root to give boxes more than one user."};
  out.push_back(std::move(ids));
  return out;
}

}  // namespace caged::vmm::jail
