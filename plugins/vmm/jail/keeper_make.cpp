// Making a box: its record, folders, cgroups, then the launcher.
#include "files.hpp"
#include "keeper.hpp"
#include "keeper_parts.hpp"
#include "launch.hpp"
#include "volume.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cerrno>

namespace caged::vmm::jail {
namespace {

constexpr std::uint64_t least_memory = 16ull << 20;

bool valid_id(const std::string& id) {
  if (id.empty() || id.size() > 63 || id[0] == '-' || id[0] == '.') return false;
  return id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == std::string::npos;
}

// Never used again: a host that starts later finds its boxes at the witness by it.
std::uint64_t new_witness_number() {
  std::uint64_t number = 0;
  random_bytes(std::as_writable_bytes(std::span(&number, 1)));
  return number >> 2 | 1;
}

error invalid(const std::string& message, const std::string& action, const std::string& path) {
  return fail(errc::invalid_argument, "invalid_input", message, action, path);
}

// A path of a socket may have 107 bytes; a data folder may lie deeper. The descriptor's magic link is short.
sockaddr_un socket_address(int dir) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(dir) + "/agent.sock";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

result<unique_fd> listen_at(int dir) {
  unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!s) return errno_error(errno, "make the agent's socket");
  const sockaddr_un address = socket_address(dir);
  if (::bind(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error(errno, "bind the agent's socket");
  if (::listen(s.get(), 128) != 0) return errno_error(errno, "listen on the agent's socket");
  return s;
}

// The environment goes as a file: it may be large, and a command line is visible to everybody in the box.
result<unique_fd> environment_file(const std::map<std::string, std::string>& env) {
  unique_fd file(::memfd_create("caged-env", MFD_CLOEXEC));
  if (!file) return errno_error(errno, "make a memory file");
  const std::string text = to_text(json(env));
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return errno_error(errno, "write the environment");
  return file;
}

}  // namespace

result<void> keeper::check(const box_spec& spec) {
  if (!valid_id(spec.id))
    return invalid("the id \"" + spec.id + "\" is not usable", "Use 1 to 63 letters, digits, dashes and underscores.",
                   "/id");
  // A snapshot says itself what it lies on.
  if (spec.snapshot.empty())
    if (auto known = template_of(spec.image); !known) return known.error();
  if (const auto& mode = spec.network_mode; mode != "none" && mode != "allowlist" && mode != "full" && mode != "learn")
    return fail(errc::unsupported, "network_mode_unsupported", "the jail knows no network mode \"" + mode + "\"",
                "Use none, allowlist, full or learn.", "/network_mode");
  if (!(spec.cpus >= 0.01 && spec.cpus <= 1024))
    return invalid("cpus is " + std::to_string(spec.cpus) + ", expected 0.01 to 1024", "Correct cpus.", "/cpus");
  if (spec.memory_bytes < least_memory)
    return invalid("memory is " + std::to_string(spec.memory_bytes) + " bytes, expected at least 16 MiB",
                   "Give the sandbox more memory.", "/memory");
  if (spec.max_processes < 2)
    return invalid("max_processes is " + std::to_string(spec.max_processes) + ", expected at least 2",
                   "Allow more processes.", "/max_processes");
  return {};
}

result<std::shared_ptr<box>> keeper::make(const box_spec& spec) {
  if (auto fine = check(spec); !fine) return fine.error();
  {
    const std::lock_guard lock(guard_);
    if (live_.count(spec.id) != 0 || !making_.insert(spec.id).second) {
      return fail(errc::conflict, "sandbox_exists", "a box \"" + spec.id + "\" exists already", "Choose another id.");
    }
  }
  // Of templates that may be built anew or removed none are made ahead.
  const bool ahead = spec.snapshot.empty() && spec.image == "host";
  result<std::shared_ptr<box>> made = ahead ? take_warm(spec) : nullptr;
  if (!*made) made = make_reserved(spec);
  {
    const std::lock_guard lock(guard_);
    making_.erase(spec.id);
    if (made) {
      live_[spec.id] = *made;
      gone_.erase(spec.id);
    }
  }
  if (made && ahead) warm_->want(spec);
  return made;
}

// Nothing of it is left behind; what fails here is swept by the next adopt().
void keeper::abandon(const std::string& id, box& b) {
  (void)release(id, b.pidfd.get(), b.record.cgroup);
  if (b.pidfd) (void)reap(b.pidfd.get());
  end_evidence(b.record);
  give_slot(b.record.slot);
}

// Everything that make() does, up to an agent that says it is ready: what this machine can give is tried, not guessed.
result<void> keeper::rehearse() {
  box_spec spec;
  spec.id = random_id("probe-", 12);
  for (const char* wall : {"cgroup.memory", "cgroup.cpu", "cgroup.pids", "landlock", "evidence.exec"})
    spec.accept_missing.push_back(wall);
  if (::mkdirat(boxes_.get(), spec.id.c_str(), 0700) != 0) return errno_error(errno, "make the trial's folder");
  box b;
  b.id = b.record.id = spec.id;
  parts p;
  p.rehearsal = true;
  auto built = build(spec, b, p);
  abandon(spec.id, b);
  return built;
}

result<warm_box> keeper::make_warm(box_spec spec) {
  spec.id = random_id("warm-", 12);
  if (::mkdirat(boxes_.get(), spec.id.c_str(), 0700) != 0) return errno_error(errno, "make the sandbox's folder");
  warm_box w;
  w.b = std::make_shared<box>();
  w.b->id = w.b->record.id = spec.id;
  parts p;
  p.ahead = true;
  {
    const std::lock_guard lock(guard_);
    making_.insert(spec.id);
  }
  auto built = build(spec, *w.b, p);
  if (!built) {
    discard_warm(std::move(w));
    return built.error();
  }
  w.folder = std::move(p.folder);
  w.fs = std::move(p.fs);
  w.env = std::move(p.env_write);
  w.ready = std::move(p.ready_read);
  return w;
}

result<std::shared_ptr<box>> keeper::make_reserved(const box_spec& spec) {
  if (::mkdirat(boxes_.get(), spec.id.c_str(), 0700) != 0) {
    if (errno == EEXIST)
      return fail(errc::conflict, "sandbox_exists", "a folder of a box \"" + spec.id + "\" exists already",
                  "Choose another id.");
    return errno_error(errno, "make the sandbox's folder");
  }
  auto b = std::make_shared<box>();
  b->id = b->record.id = spec.id;
  parts p;
  auto built = build(spec, *b, p);
  // A copied subvolume has more than its mark says, and none of it is this box's doing.
  if (built && p.from) files_.set_start(b->record.process.pid, to_manifest(scan(p.fs.get(), b->record.layers)));
  if (built) return b;
  abandon(spec.id, *b);
  return built.error();
}

result<void> keeper::build(const box_spec& spec, box& b, parts& p) {
  if (root_) {
    b.record.slot = take_slot();
    if (b.record.slot < 0)
      return fail(errc::limit_exceeded, "too_many_sandboxes",
                  "all " + std::to_string(options_.max_boxes) + " ranges of user ids are taken",
                  "Destroy a sandbox, or raise plugins.vmm.jail.max_boxes.");
    p.owner = options_.uid_base + static_cast<std::uint32_t>(b.record.slot) * 65536u;
  }
  b.record.disk_base = p.owner;
  b.record.disk_limit = spec.disk_bytes;
  if (spec.snapshot.empty()) {
    auto from = template_of(spec.image);
    if (!from) return from.error();
    b.record.layers = from->layers;
    b.record.etc_folder = from->etc_folder;
    p.fresh = std::move(*from);
  } else {
    auto from = find_snapshot(spec.snapshot);
    if (!from) return from.error();
    b.record.layers = from->layers;
    b.record.etc_folder = from->etc_folder;
    b.record.disk_base = from->disk_base;
    p.from = std::move(*from);
  }
  if (auto intent = write_record(b.record); !intent) return intent;
  if (auto prepared = prepare_folder(spec, b, p); !prepared) return prepared;
  const box_limits limits{spec.cpus, spec.memory_bytes, spec.max_processes};
  auto cgroup = cgroups_.make(spec.id, limits, accepted(spec), b.record.missing);
  if (!cgroup) return cgroup.error();
  b.record.cgroup = std::move(*cgroup);
  if (p.ahead) b.record.phase = "ahead";
  if (auto started = start(spec, b, p); !started) return started;
  if (p.ahead) return {};
  if (auto ready = await_ready(b, p.ready_read.get()); !ready) return ready;
  b.record.phase = "running";
  return write_record(b.record);
}

result<void> keeper::fill_folder(const box_spec& spec, box& b, parts& p) {
  if (!p.from) {
    auto fs = make_volume(p.folder.get(), "fs");
    if (!fs) return fs.error();
    p.fs = std::move(*fs);
    if (auto made = make_skeleton(p.fs.get(), p.fresh, spec.id, p.owner); !made) return made;
    b.mark = to_manifest(scan(p.fs.get(), p.fresh.layers));
    return {};
  }
  if (auto copied = copy_volume(p.from->fs.get(), p.folder.get(), "fs"); !copied) return copied;
  p.fs.reset(open_folder(p.folder.get(), "fs"));
  if (!p.fs) return errno_error(errno, "open the sandbox's files");
  replace_names(p.fs.get(), p.host_name.empty() ? spec.id : p.host_name, b.record.disk_base);
  // A subvolume keeps inode numbers and times, so what the snapshot's box had changed is still told apart.
  if (volume_kind_of(p.fs.get()) == volume_kind::copy) {
    b.mark = to_manifest(scan(p.fs.get(), b.record.layers));
    return {};
  }
  if (auto mark = read_small_file_at(p.from->folder.get(), "mark", 512u << 20)) b.mark = decode_manifest(*mark);
  for (const std::string name : {"hostname", "hosts"}) {
    if (auto now = mark_of_file(p.fs.get(), ("layers/etc/upper/" + name).c_str())) b.mark["/etc/" + name] = *now;
  }
  return {};
}

result<void> keeper::prepare_folder(const box_spec& spec, box& b, parts& p) {
  p.folder.reset(open_folder(boxes_.get(), spec.id.c_str()));
  if (!p.folder) return errno_error(errno, "open the sandbox's folder");
  if (auto filled = fill_folder(spec, b, p); !filled) return filled;
  if (auto kept = write_atomically(p.folder.get(), "mark", encode(b.mark)); !kept) return kept;
  auto listening = listen_at(p.folder.get());
  if (!listening) return listening.error();
  p.listen = std::move(*listening);
  int ends[2];
  if (p.ahead) {
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
    p.env.reset(ends[0]);
    p.env_write.reset(ends[1]);
  } else {
    auto env = environment_file(spec.env);
    if (!env) return env.error();
    p.env = std::move(*env);
  }
  const auto& program = p.rehearsal ? options_.launcher : options_.agent;
  p.agent.reset(::open(program.c_str(), O_PATH | O_CLOEXEC));
  if (!p.agent) return errno_error(errno, "open " + program.string(), "Reinstall Caged.");
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  p.ready_read.reset(ends[0]);
  p.ready_write.reset(ends[1]);
  return {};
}

launch_spec keeper::launch_spec_for(const box_spec& spec, const box_record& record) const {
  launch_spec out;
  out.id = spec.id;
  if (record.slot >= 0) {
    out.uid_base = options_.uid_base + static_cast<std::uint32_t>(record.slot) * 65536u;
    out.uid_count = 65536;
  }
  out.disk_base = record.disk_base;
  out.user_uid = ::geteuid();
  out.user_gid = ::getegid();
  out.shm_bytes = spec.memory_bytes / 2;
  out.witness = record.witness != 0 ? 1 : 0;
  out.layers = record.layers;
  out.accept_missing = accepted(spec);
  const auto lacks = [&record](const char* wall) {
    return std::find(record.missing.begin(), record.missing.end(), wall) != record.missing.end();
  };
  // The second best where a cgroup is missing and that was accepted: limits for each process, not for the box.
  if (lacks("cgroup.pids")) out.rlimit_processes = spec.max_processes;
  if (lacks("cgroup.memory")) out.rlimit_data = spec.memory_bytes;
  out.agent_argv = {"caged-agent",
                    "--listen-fd",
                    std::to_string(agent_listen_fd),
                    "--ready-fd",
                    std::to_string(agent_ready_fd),
                    "--env-fd",
                    std::to_string(agent_env_fd),
                    "--workspace",
                    "/workspace"};
  return out;
}

result<void> keeper::start(const box_spec& spec, box& b, parts& p) {
  if (witness_) b.record.witness = new_witness_number();
  handed_numbers fds{};
  fds[static_cast<std::size_t>(handed::box_folder)] = p.fs.get();
  fds[static_cast<std::size_t>(handed::agent_program)] = p.agent.get();
  fds[static_cast<std::size_t>(handed::listen)] = p.listen.get();
  fds[static_cast<std::size_t>(handed::ready)] = p.ready_write.get();
  fds[static_cast<std::size_t>(handed::env)] = p.env.get();
  fds[static_cast<std::size_t>(handed::filter)] = filter_.get();
  launch_spec what = launch_spec_for(spec, b.record);
  if (!p.host_name.empty()) what.id = p.host_name;
  auto made = launch(options_.launcher, what, fds,
                     [this, &b](const process_identity& process) -> result<void> {
                       b.record.process = process;
                       limit_file_size(process.pid, b.record.disk_limit, b.record.disk_limit);
    // Before it runs anything: all that it ever starts is counted and limited.
                       if (auto placed = b.record.cgroup.add(process.pid); !placed) return placed;
                       return write_record(b.record);
                     });
  if (!made) return made.error();
  b.pidfd = std::move(made->pidfd);
  b.record.owners_mapped = made->owners_mapped;
  b.record.walls = {"userns",   "pidns",      "mountns",      "netns",        "ipcns",   "utsns",
                    "cgroupns", "pivot_root", "no_new_privs", "capabilities", "rlimits", "seccomp"};
  const auto stands = [&](const std::string& wall, const std::vector<std::string>& missing) {
    if (std::find(missing.begin(), missing.end(), wall) == missing.end()) b.record.walls.push_back(wall);
  };
  stands("landlock", made->missing);
  if (witness_) stands("evidence.exec", made->missing);
  for (const char* wall : {"cgroup.memory", "cgroup.cpu", "cgroup.pids"}) stands(wall, b.record.missing);
  b.record.missing.insert(b.record.missing.end(), made->missing.begin(), made->missing.end());
  p.ready_write.reset();
  p.listen.reset();
  p.env.reset();
  return begin_evidence(b, std::move(made->listener));
}

result<void> keeper::await_ready(box& b, int from) const {
  pollfd ready{from, POLLIN, 0};
  int rc = 0;
  do rc = ::poll(&ready, 1, static_cast<int>(options_.start_deadline.count()));
  while (rc < 0 && errno == EINTR);
  char byte = 0;
  if (rc == 1 && ::read(from, &byte, 1) == 1) return {};
  if (rc == 0)
    return fail(errc::deadline_exceeded, "agent_timeout", "the agent in the box did not become ready in time",
                "Try again; the machine may be overloaded.");
  (void)kill_and_wait(b.pidfd.get(), std::chrono::seconds(2));
  const auto status = reap(b.pidfd.get());
  std::string how = "ended before it was ready";
  if (status && WIFEXITED(*status)) how += " with exit code " + std::to_string(WEXITSTATUS(*status));
  if (status && WIFSIGNALED(*status)) how += " by signal " + std::to_string(WTERMSIG(*status));
  return fail(errc::internal, "agent_failed", "the agent in the box " + how,
              "Look at the host's log; reinstall Caged if the agent does not fit.");
}

result<keeper::attempt> keeper::try_connect(const std::string& id, unique_fd& out) {
  auto b = find(id);
  if (!b) return b.error();
  unique_fd dir(open_folder(boxes_.get(), id.c_str()));
  if (!dir) return errno_error(errno, "open the sandbox's folder");
  unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return errno_error(errno, "make a socket");
  const sockaddr_un address = socket_address(dir.get());
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    out = std::move(s);
    return attempt::connected;
  }
  if (errno == EAGAIN) return attempt::again;
  return fail(errc::unavailable, "sandbox_lost",
              "the agent of the box \"" + id + "\" does not listen any more: " + std::strerror(errno),
              "Make a new sandbox.");
}

}  // namespace caged::vmm::jail
