// What boxes are cloned from: images, and machines that have booted once.
#include "control.hpp"
#include "files.hpp"
#include "keeper.hpp"
#include "qmp.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <fstream>
#include <iterator>

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;

error unknown_template(const std::string& name) {
  return fail(errc::not_found, "unknown_template", "the qemu backend has no template \"" + name + "\"",
              "Name a folder with a root file system in plugins.vmm.qemu.templates.", "/template");
}

}  // namespace

result<std::filesystem::path> keeper::image(const std::string& name) {
  const auto found = options_.templates.find(name);
  if (found == options_.templates.end()) return unknown_template(name);
  std::error_code ec;
  if (std::filesystem::is_regular_file(found->second, ec)) return found->second;
  const auto made = options_.data / "images" / (name + ".erofs");
  if (std::filesystem::exists(made, ec)) return made;
  host_.log(log_level::info, "making the image of the template " + name + " from " + found->second.string());
  if (auto done = write_image(found->second, made); !done) return done.error();
  return made;
}

accelerator keeper::engine() {
  if (options_.accelerator == "tcg") return accelerator::tcg;
  if (options_.accelerator == "kvm") return accelerator::kvm;
  auto boots = boots_with_kvm();
  return boots && *boots ? accelerator::kvm : accelerator::tcg;
}

// Opening /dev/kvm proves nothing: there are machines where it opens and no guest runs. So one is started, far enough
// to hear the agent.
result<bool> keeper::boots_with_kvm() {
  if (kvm_ >= 0) return kvm_ == 1;
  const auto file = options_.data / "kvm.json";
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string this_boot;
  std::getline(boot, this_boot);
  if (auto known = read_json(file); known && known->value("boot", "") == this_boot) {
    kvm_ = known->value("boots", false) ? 1 : 0;
    return kvm_ == 1;
  }
  bool boots = false;
  if (::access("/dev/kvm", R_OK | W_OK) == 0) {
    shape least;
    least.memory_mib = 128;
    const auto initrd = options_.data / "initrd";
    const auto console = options_.data / "kvm.console";
    std::error_code ec;
    std::filesystem::remove(console, ec);
    // `timeout` ends it: the guest finds no disk and would look for it for a while.
    (void)run_program({"timeout", "-s", "KILL", "8", options_.program.string(), "-M", "microvm", "-accel", "kvm", "-cpu",
                       "host", "-m", "128", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                       "-kernel", options_.kernel.string(), "-initrd", initrd.string(), "-serial",
                       "file:" + console.string(), "-append",
                       "console=ttyS0 quiet reboot=t panic=-1 rdinit=/init -- --guest"});
    std::ifstream in(console);
    const std::string said((std::istreambuf_iterator<char>(in)), {});
    boots = said.find("a machine starts") != std::string::npos;
  }
  if (auto kept = write_text(file, to_text({{"boot", this_boot}, {"boots", boots}})); !kept) return kept.error();
  kvm_ = boots ? 1 : 0;
  return boots;
}

result<base> keeper::template_base(const shape& wanted) {
  const std::lock_guard one_at_a_time(building_);
  auto root = image(wanted.image);
  if (!root) return root.error();
  const accelerator by = engine();
  const std::string key = sha256_hex(to_text(wanted.to_json()) + fingerprint_of(options_.program) +
                                     fingerprint_of(options_.kernel) + fingerprint_of(options_.agent) +
                                     fingerprint_of(options_.launcher) + fingerprint_of(*root) +
                                     (by == accelerator::kvm ? "kvm" : "tcg"))
                              .substr(0, 32);
  base out{options_.data / "bases" / key, wanted};
  std::error_code ec;
  if (std::filesystem::exists(out.folder / "base.json", ec)) return out;
  const auto begun = std::chrono::steady_clock::now();
  host_.log(log_level::info, "booting a machine of the template " + wanted.image + " with " +
                                 std::to_string(wanted.memory_mib) + " MiB; later ones are its clones");
  const auto part = options_.data / "bases" / (key + ".part");
  sweep(part);
  std::filesystem::create_directories(part, ec);
  if (auto done = cold_boot(wanted, *root, part); !done) {
    sweep(part);
    return done.error();
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
  json record = wanted.to_json();
  record["boot_ms"] = took.count();
  if (auto kept = write_text(part / "base.json", to_text(record)); !kept) return kept.error();
  std::filesystem::rename(part, out.folder, ec);
  if (ec) return errno_error(ec.value(), "keep the booted machine");
  return out;
}

result<void> keeper::cold_boot(const shape& wanted, const std::filesystem::path& image,
                               const std::filesystem::path& where) {
  if (auto made = write_disk(wanted.disk_bytes, where / "disk"); !made) return made;
  {
    const owned_fd memory(::open((where / "memory").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(wanted.memory_mib << 20)) != 0)
      return errno_error(errno, "make the machine's memory");
  }
  parts p;
  p.folder = where;
  p.image = image;
  p.initrd = options_.data / "initrd";
  p.memory = where / "memory";
  p.hardware = wanted;
  p.by = engine();
  p.uid = new_uid();
  auto ran = start(p, where);
  if (!ran) return ran.error();
  const auto boot = [&]() -> result<void> {
    auto talk = control::open(where);
    if (!talk) return talk.error();
    if (auto ready = talk->wait_ready(options_.start_deadline); !ready) {
      if (auto monitor = qmp::open(where, 5s))
        if (auto said = monitor->call("ringbuf-read", {{"device", "console"}, {"size", 4096}}); said && said->is_string())
          host_.log(log_level::error, "a guest that did not start said: " + said->get<std::string>());
      return ready;
    }
    if (auto done = practise(where); !done) return done;
    auto monitor = qmp::open(where, 20s);
    if (!monitor) return monitor.error();
    if (auto stopped = monitor->call("stop"); !stopped) return stopped.error();
    const owned_fd state(::open((where / "state").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!state) return errno_error(errno, "keep the state of the devices");
    auto set = monitor->call_with(state.get(), "add-fd", {{"fdset-id", 100}});
    if (!set) return set.error();
    auto saved = monitor->call("xen-save-devices-state", {{"filename", "/dev/fdset/100"}, {"live", false}});
    if (!saved) return saved.error();
    return {};
  };
  const auto booted = boot();
  kill_machine(*ran);
  std::error_code ec;
  if (!booted) return with_last_words(booted.error(), where);
  for (const char* name : {"agent.sock", "control.sock", "qmp.sock", "end", "initrd"})
    std::filesystem::remove(where / name, ec);
  // Clones read it as users of their own.
  std::filesystem::permissions(where / "memory", std::filesystem::perms(0444), ec);
  if (::chown((where / "memory").c_str(), ::geteuid(), ::getegid()) != 0) return errno_error(errno, "keep the memory");
  return {};
}

// What QEMU itself said, where it said something.
error keeper::with_last_words(error e, const std::filesystem::path& where) {
  std::ifstream in(where / "end");
  const std::string said((std::istreambuf_iterator<char>(in)), {});
  if (!said.empty()) e.message += "; it " + said.substr(0, 600);
  return e;
}

result<base> keeper::base_of(const box_spec& spec) {
  if (spec.snapshot.empty()) return template_base(shape_of(spec));
  auto record = read_json(snapshot_folder(spec.snapshot) / "base.json");
  if (!record)
    return fail(errc::not_found, "snapshot_not_found", "the qemu backend has no snapshot \"" + spec.snapshot + "\"",
                "List the sandbox's snapshots.");
  return base{snapshot_folder(spec.snapshot), shape::from_json(*record)};
}

}  // namespace caged::vmm::qemu
