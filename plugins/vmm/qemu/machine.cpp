#include "machine.hpp"

#include "launcher/numbers.hpp"
#include "sockets.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cerrno>
#include <cstdio>
#include <fstream>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;
constexpr auto launch_deadline = 20s;
// Address space that QEMU may take beyond its guest's memory: libraries, translated code, stacks of its threads.
constexpr std::uint64_t own_space = 1536ull << 20;

// A translated guest cannot find out how fast its clock ticks when the host is busy, and then waits forever.
std::uint64_t ticks_per_millisecond() {
#if defined(__x86_64__)
  static const std::uint64_t measured = [] {
    const auto begin = std::chrono::steady_clock::now();
    const std::uint64_t first = __rdtsc();
    while (std::chrono::steady_clock::now() - begin < 20ms) {
    }
    const std::uint64_t last = __rdtsc();
    const auto took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    return static_cast<std::uint64_t>(static_cast<double>(last - first) / took);
  }();
  return measured;
#else
  return 1'000'000;
#endif
}

std::vector<std::string> command_line(const settings& s, const parts& p) {
  const bool cold = p.state.empty();
  const std::string memory = std::to_string(p.hardware.memory_mib) + "M";
  const bool kvm = p.by == accelerator::kvm;

  const auto add_fd = [](int fd) { return "fd=" + std::to_string(fd) + ",set=" + std::to_string(fd); };
  const auto fd_set = [](int fd) { return "/dev/fdset/" + std::to_string(fd); };
  std::vector<std::string> out{
      s.program.string(), "-M", "microvm,rtc=on,isa-serial=on,auto-kernel-cmdline=on,memory-backend=memory,suppress-vmdesc=on",
      "-accel", kvm ? "kvm" : "tcg,thread=single,tb-size=64", "-cpu", kvm ? "host,migratable=on" : "max",
      "-smp", std::to_string(p.hardware.cpus), "-m", memory,
      "-object", "memory-backend-file,id=memory,size=" + memory + ",mem-path=" + (cold ? "/memory,share=on" : "/base/memory,share=off"),
      "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
      "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-global", "migration.send-configuration=off",
      "-chardev", "ringbuf,id=console,size=65536", "-serial", "chardev:console",
      "-add-fd", add_fd(fd_image), "-add-fd", add_fd(fd_disk),
      "-add-fd", "fd=" + std::to_string(fd_disk_read) + ",set=" + std::to_string(fd_disk),
      "-drive", "if=none,id=image,format=raw,readonly=on,file.locking=off,file=" + fd_set(fd_image),
      "-device", "virtio-blk-device,drive=image,serial=caged-image",
      "-drive", "if=none,id=disk,format=raw,discard=unmap,detect-zeroes=unmap,file.locking=off,file=" + fd_set(fd_disk),
      "-device", "virtio-blk-device,drive=disk,serial=caged-disk",
      "-object", "rng-builtin,id=random", "-device", "virtio-rng-device,rng=random",
      "-device", "virtio-serial-device",
      "-chardev", "socket,id=port,fd=" + std::to_string(fd_port),
      "-device", "virtserialport,chardev=port,name=caged.agent",
      "-chardev", "socket,id=qmp,server=on,wait=off,fd=" + std::to_string(fd_qmp), "-mon", "chardev=qmp,mode=control",
      "-kernel", "/kernel", "-initrd", "/initrd",
      "-append", "console=ttyS0 loglevel=4 reboot=t panic=-1 mitigations=off random.trust_cpu=off no_timer_check "
                 "tsc=reliable tsc_early_khz=" + std::to_string(ticks_per_millisecond()) + " rdinit=/init -- --guest"};
  if (!cold) out.insert(out.end(), {"-S", "-incoming", "fd:" + std::to_string(fd_state)});

  return out;
}

json row(const std::filesystem::path& from, const char* to) { return {{"from", from.string()}, {"to", to}}; }

json spec_of(const settings& s, const parts& p) {
  json root = json::array();
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe"})
    if (std::filesystem::exists(folder)) root.push_back(row(folder, folder));
  if (std::filesystem::exists("/usr/lib/x86_64-linux-gnu"))
    root.push_back(row("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"));
  root.push_back(row(s.program, s.program.c_str()));
  root.push_back(row(s.door, "/caged-qemu-memory.so"));
  root.push_back(row(s.kernel, "/kernel"));
  root.push_back(row(p.initrd, "/initrd"));
  json memory = row(p.memory, p.state.empty() ? "/memory" : "/base/memory");
  memory["write"] = p.state.empty();
  root.push_back(std::move(memory));
  if (p.by == accelerator::kvm) {
    json device = row("/dev/kvm", "/dev/kvm");
    device["device"] = true;
    root.push_back(std::move(device));
  }
  return {{"argv", command_line(s, p)},
          {"root", std::move(root)},
          {"uid", p.uid},
          {"space", (p.hardware.memory_mib << 20) + own_space},
          {"fsize", std::max(p.hardware.disk_bytes, p.hardware.memory_mib << 20)}};
}

// The launcher's descriptors, in the order of its numbers; each is placed above them first, so that none is overwritten.
struct handed {
  std::vector<std::pair<int, int>> places;  // ours → its number
  std::vector<owned_fd> lifted;
  result<void> add(int fd, int number) {
    owned_fd high(::fcntl(fd, F_DUPFD_CLOEXEC, 64));
    if (!high) return errno_error(errno, "prepare a descriptor");
    places.emplace_back(high.get(), number);
    lifted.push_back(std::move(high));
    return {};
  }
};

result<pid_t> spawn(const std::filesystem::path& program, const handed& given) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 2);
  for (int number = fd_spec; number < fd_after; ++number) ::posix_spawn_file_actions_adddup2(&actions, 0, number);
  for (const auto& [ours, number] : given.places) ::posix_spawn_file_actions_adddup2(&actions, ours, number);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, fd_after);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::string name = program.string();
  char* argv[] = {name.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = -1;
  const int err = ::posix_spawn(&pid, name.c_str(), &actions, &attributes, argv, environment);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (err != 0)
    return errno_error(err, "start " + name, "Reinstall Caged: caged-qemu-launcher belongs beside caged.");
  return pid;
}

result<owned_fd> open_part(const std::filesystem::path& file, int flags) {
  owned_fd out(::open(file.c_str(), flags | O_CLOEXEC, 0600));
  if (!out) return errno_error(errno, "open " + file.string());
  return out;
}

result<owned_fd> spec_file(const json& spec) {
  owned_fd file(::memfd_create("caged-machine", MFD_CLOEXEC));
  const std::string text = to_text(spec);
  if (!file || ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return errno_error(errno, "write the launch specification");
  return file;
}

// Everything the launcher is given but its report.
result<void> gather(const settings& s, const parts& p, handed& out) {
  std::error_code ec;
  for (const char* name : {"agent.sock", "control.sock", "qmp.sock", "end"}) std::filesystem::remove(p.folder / name, ec);
  std::vector<std::pair<result<owned_fd>, int>> all;
  all.emplace_back(spec_file(spec_of(s, p)), fd_spec);
  all.emplace_back(open_part(p.folder / "end", O_RDWR | O_CREAT), fd_end);
  all.emplace_back(listen_at(p.folder, "agent.sock"), fd_agent);
  all.emplace_back(listen_at(p.folder, "control.sock"), fd_control);
  all.emplace_back(listen_at(p.folder, "qmp.sock"), fd_qmp);
  all.emplace_back(open_part(p.image, O_RDONLY), fd_image);
  all.emplace_back(open_part(p.folder / "disk", O_RDWR), fd_disk);
  all.emplace_back(open_part(p.folder / "disk", O_RDONLY), fd_disk_read);
  if (!p.state.empty()) all.emplace_back(open_part(p.state, O_RDONLY), fd_state);
  for (auto& [fd, number] : all) {
    if (!fd) return fd.error();
    if (auto added = out.add(fd->get(), number); !added) return added;
  }
  return {};
}

}  // namespace

json shape::to_json() const {
  return {{"image", image}, {"memory_mib", memory_mib}, {"disk_bytes", disk_bytes}, {"cpus", cpus}};
}

shape shape::from_json(const json& value) {
  shape out;
  out.image = value.at("image").get<std::string>();
  out.memory_mib = value.at("memory_mib").get<std::uint64_t>();
  out.disk_bytes = value.at("disk_bytes").get<std::uint64_t>();
  out.cpus = value.at("cpus").get<unsigned>();
  return out;
}

owned_fd open_process(pid_t pid) {
  if (pid <= 1) return {};
  return owned_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

result<running> start_machine(const settings& s, const parts& p) {
  handed given;
  if (auto made = gather(s, p, given); !made) return made.error();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const owned_fd reports(ends[0]);
  owned_fd write_end(ends[1]);
  if (auto added = given.add(write_end.get(), fd_report); !added) return added.error();
  auto pid = spawn(s.launcher, given);
  if (!pid) return pid.error();
  write_end.reset();
  given = handed();
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  // The pipe ends when relay and QEMU both have what they need: QEMU's end closes with its exec.
  std::string said;
  const auto until = std::chrono::steady_clock::now() + launch_deadline;
  for (char piece[512]; wait_for(reports.get(), POLLIN, until);) {
    const ssize_t n = ::read(reports.get(), piece, sizeof piece);
    if (n <= 0) break;
    said.append(piece, static_cast<std::size_t>(n));
  }
  running out;
  int relay = 0, machine = 0;
  const bool understood = std::sscanf(said.c_str(), "ok %d %d", &relay, &machine) == 2;
  out.relay = relay;
  out.machine = machine;
  out.process = open_process(relay);
  out.vm = open_process(machine);
  const bool clean = understood && said == "ok " + std::to_string(relay) + " " + std::to_string(machine);
  if (clean && out.process) return out;
  if (understood) kill_machine(out);
  return fail(errc::internal, "machine_failed", "the virtual machine cannot be started: " + (said.empty() ? "no answer" : said),
              "`caged doctor` shows what this machine lacks.");
}

void kill_machine(const running& r) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  // The relay waits for its machine, writes down how it ended, and goes.
  if (r.vm) ::syscall(SYS_pidfd_send_signal, r.vm.get(), SIGKILL, nullptr, 0);
  if (r.process && !wait_for(r.process.get(), POLLIN, std::min(until, std::chrono::steady_clock::now() + 5s)))
    ::syscall(SYS_pidfd_send_signal, r.process.get(), SIGKILL, nullptr, 0);
  if (r.process) wait_for(r.process.get(), POLLIN, until);
  if (r.vm) wait_for(r.vm.get(), POLLIN, until);
}

}  // namespace caged::vmm::qemu
