// Making a box: a clone of a machine that has booted, which then learns who it is.
#include "control.hpp"
#include "files.hpp"
#include "keeper.hpp"
#include "qmp.hpp"

#include <unistd.h>
#include <array>
#include <caged/base64.hpp>
#include <caged/random.hpp>
#include <cmath>

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t least_memory = 96ull << 20;
constexpr auto go_deadline = 30s;

bool valid_id(const std::string& id) {
  if (id.empty() || id.size() > 63 || id[0] == '-' || id[0] == '.') return false;
  return id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == std::string::npos;
}

error invalid(const std::string& message, const std::string& action, const std::string& path) {
  return fail(errc::invalid_argument, "invalid_input", message, action, path);
}

std::string uuid() {
  const std::string hex = random_hex("", 16);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-4" + hex.substr(13, 3) + "-a" + hex.substr(17, 3) + "-" +
         hex.substr(20, 12);
}

}  // namespace

result<void> keeper::check(const box_spec& spec) const {
  if (!valid_id(spec.id))
    return invalid("the id \"" + spec.id + "\" is not usable", "Use 1 to 63 letters, digits, dashes and underscores.",
                   "/id");
  if (spec.network_mode != "none")
    return fail(errc::unsupported, "network_mode_unsupported",
                "the qemu backend cannot give the network mode \"" + spec.network_mode + "\" yet",
                "Use network_mode none.", "/network_mode");
  if (!(spec.cpus >= 0.1 && spec.cpus <= 16))
    return invalid("cpus is " + std::to_string(spec.cpus) + ", expected 0.1 to 16", "Correct cpus.", "/cpus");
  if (spec.memory_bytes < least_memory || spec.memory_bytes > (64ull << 30))
    return invalid("memory is " + std::to_string(spec.memory_bytes) + " bytes, expected 96 MiB to 64 GiB",
                   "A virtual machine needs memory for a kernel of its own.", "/memory");
  if (spec.disk_bytes < (16ull << 20))
    return invalid("disk is " + std::to_string(spec.disk_bytes) + " bytes, expected at least 16 MiB",
                   "Give the sandbox more disk.", "/disk");
  if (spec.max_processes < 2)
    return invalid("max_processes is " + std::to_string(spec.max_processes) + ", expected at least 2",
                   "Allow more processes.", "/max_processes");
  if (options_.kernel.empty() || !std::filesystem::exists(options_.kernel))
    return fail(errc::unavailable, "no_kernel", "there is no kernel for virtual machines",
                "Install linux-image-cloud-amd64, or set plugins.vmm.qemu.kernel and .modules.");
  if (!std::filesystem::exists(options_.program))
    return fail(errc::unavailable, "no_qemu", "there is no " + options_.program.string(), "Install qemu-system-x86.");
  return {};
}

shape keeper::shape_of(const box_spec& spec) const {
  shape out;
  out.image = spec.image;
  out.memory_mib = (spec.memory_bytes + (1u << 20) - 1) >> 20;
  out.disk_bytes = (spec.disk_bytes + 4095) / 4096 * 4096;
  // A translated guest gains nothing from more than one; shares of a processor are the control group's.
  out.cpus = accelerated() ? static_cast<unsigned>(std::ceil(spec.cpus)) : 1;
  return out;
}

std::uint32_t keeper::new_uid() {
  std::array<std::byte, 2> two{};
  const std::lock_guard lock(guard_);
  for (;;) {
    random_bytes(two);
    const std::uint32_t uid = options_.uid_base + (std::to_integer<std::uint32_t>(two[0]) << 8 | std::to_integer<std::uint32_t>(two[1]));
    bool used = false;
    for (const auto& [id, b] : live_) used = used || b->uid == uid;
    if (!used) return uid;
  }
}

result<running> keeper::start(const parts& p, const std::filesystem::path& where) {
  // Files that the machine writes are its user's; it is given them as open descriptors all the same.
  if (::geteuid() == 0 && (::chown((where / "disk").c_str(), p.uid, p.uid) != 0 ||
                           (p.state.empty() && ::chown(p.memory.c_str(), p.uid, p.uid) != 0)))
    return errno_error(errno, "hand the machine its files");
  return start_machine(options_, p);
}

result<running> keeper::clone(const base& from, const std::filesystem::path& where, std::uint32_t uid) {
  auto root = image(from.hardware.image);
  if (!root) return root.error();
  std::error_code ec;
  std::filesystem::create_directories(where, ec);
  if (auto copied = copy_sparse(from.folder / "disk", where / "disk"); !copied) return copied.error();
  // A second name keeps the memory when its base is removed: what the clone has not changed is read from it.
  std::filesystem::create_hard_link(from.folder / "memory", where / "base", ec);
  if (ec) return errno_error(ec.value(), "keep the memory of the base");
  parts p;
  p.folder = where;
  p.image = *root;
  p.initrd = options_.data / "initrd";
  p.memory = from.folder / "memory";
  p.state = from.folder / "state";
  p.hardware = from.hardware;
  p.by = engine();
  p.uid = uid;
  return start(p, where);
}

json keeper::word_of(const box& b, bool first) {
  std::array<std::byte, 64> secret{};
  random_bytes(secret);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {{"identity",
           {{"id", b.id},
            {"time_unix_ns", std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()},
            {"random", base64_encode(std::string_view(reinterpret_cast<const char*>(secret.data()), secret.size()))},
            {"machine_id", b.machine_id},
            {"boot_id", b.boot_id}}},
          {"env", b.spec.env},
          {"tasks", b.spec.max_processes},
          {"first", first}};
}

result<void> keeper::begin(const std::filesystem::path& where, const box& b, bool first) {
  auto talk = control::open(where);
  if (!talk) return talk.error();
  auto monitor = qmp::open(where, 20s);
  if (!monitor) return monitor.error();
  if (auto runs = monitor->call("cont"); !runs) return runs.error();
  auto answered = talk->go(word_of(b, first), go_deadline);
  if (!answered) return answered.error();
  return {};
}

result<void> keeper::write_record(const box& b, const std::filesystem::path& where) const {
  const box_spec& s = b.spec;
  return write_text(where / "box.json", to_text({{"id", s.id},
                                                 {"image", s.image},
                                                 {"snapshot", s.snapshot},
                                                 {"cpus", s.cpus},
                                                 {"memory", s.memory_bytes},
                                                 {"disk", s.disk_bytes},
                                                 {"processes", s.max_processes},
                                                 {"network", s.network_mode},
                                                 {"env", s.env},
                                                 {"accept_missing", s.accept_missing},
                                                 {"hardware", b.hardware.to_json()},
                                                 {"uid", b.uid},
                                                 {"relay", b.now.relay},
                                                 {"machine", b.now.machine},
                                                 {"paused", b.paused},
                                                 {"machine_id", b.machine_id},
                                                 {"boot_id", b.boot_id}}));
}

// A machine of `from` in `where` that is `b` from now on. A failure leaves no process; the folder is the caller's.
result<void> keeper::begin_clone(const base& from, const std::filesystem::path& where, box& b) {
  b.hardware = from.hardware;
  std::error_code ec;
  if (auto waiting = take_spare(from)) {
    std::filesystem::rename(waiting->folder, where, ec);
    b.uid = waiting->uid;
    b.now = std::move(waiting->now);
  }
  if (!b.now.process) {
    b.uid = new_uid();
    auto made = clone(from, where, b.uid);
    if (!made) return made.error();
    b.now = std::move(*made);
  }
  auto done = write_record(b, where);
  if (done) done = begin(where, b, b.spec.snapshot.empty());
  if (!done) {
    kill_machine(b.now);
    return with_last_words(done.error(), where);
  }
  return done;
}

result<box_info> keeper::make(const box_spec& spec) {
  if (auto fine = check(spec); !fine) return fine.error();
  {
    const std::lock_guard lock(guard_);
    if (live_.count(spec.id) != 0 || !making_.insert(spec.id).second)
      return fail(errc::conflict, "sandbox_exists", "a box \"" + spec.id + "\" exists already", "Choose another id.");
  }
  auto b = std::make_shared<box>();
  b->id = spec.id;
  b->spec = spec;
  b->machine_id = random_hex("", 16);
  b->boot_id = uuid();
  const auto build = [&]() -> result<void> {
    auto from = base_of(spec);
    if (!from) return from.error();
    sweep(folder(spec.id));
    if (auto begun = begin_clone(*from, folder(spec.id), *b); !begun) return begun;
    want_spares(*from);
    return {};
  };
  const auto built = build();
  if (!built) sweep(folder(spec.id));
  const std::lock_guard lock(guard_);
  making_.erase(spec.id);
  if (!built) return built.error();
  live_[spec.id] = b;
  gone_.erase(spec.id);
  return describe_box(*b, engine());
}

}  // namespace caged::vmm::qemu
