// Boxes that are made before they are asked for, and how one of them becomes the one that is.
#include "files.hpp"
#include "keeper.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cerrno>

namespace caged::vmm::jail {
namespace {

error name_failed() { return errno_error(errno, "name the sandbox's host"); }

// Root may enter the box's UTS namespace with one thread and come back.
result<void> name_by_thread(int pidfd, const std::string& name) {
  unique_fd own(::open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC));
  if (!own || ::setns(pidfd, CLONE_NEWUTS) != 0) return name_failed();
  const bool named = ::sethostname(name.data(), name.size()) == 0;
  const int err = errno;
  // A thread of the host that stayed inside would give the host another name.
  if (::setns(own.get(), CLONE_NEWUTS) != 0) std::abort();
  errno = err;
  if (!named) return name_failed();
  return {};
}

// An ordinary user has to enter the box's user namespace as well, which only a process of one thread can.
result<void> name_by_process(int pidfd, const std::string& name) {
  const pid_t child = ::fork();
  if (child < 0) return name_failed();
  if (child == 0) {
    const bool done = ::setns(pidfd, CLONE_NEWUSER | CLONE_NEWUTS) == 0 && ::sethostname(name.data(), name.size()) == 0;
    ::_exit(done ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  if (errno != 0) return name_failed();
  return {};
}

}  // namespace

void keeper::open_warm() {
  warm_boxes::handlers h;
  h.make = [this](const box_spec& spec) { return make_warm(spec); };
  h.discard = [this](warm_box w) { discard_warm(std::move(w)); };
  h.log = [this](const std::string& what) { host_.log(log_level::warn, what); };
  warm_ = std::make_unique<warm_boxes>(options_.warm_boxes, std::move(h));
}

void keeper::discard_warm(warm_box w) {
  const std::string id = w.b->id;
  abandon(id, *w.b);
  const std::lock_guard lock(guard_);
  making_.erase(id);
}

std::shared_ptr<box> keeper::take_warm(const box_spec& spec) {
  auto found = warm_->take(spec);
  if (!found) return nullptr;
  box& b = *found->b;
  const std::string old = b.id;
  if (auto named = name_warm(*found, spec); !named) {
    // Whatever is wrong with it, a fresh one is right.
    host_.log(log_level::warn, "a box that was made ahead cannot be used: " + describe(named.error()));
    discard_warm(std::move(*found));
    return nullptr;
  }
  {
    const std::lock_guard lock(guard_);
    making_.erase(old);
  }
  return found->b;
}

// Of the record, the folder's name and the phase change; until both have, a host that starts sweeps the box.
result<void> keeper::name_warm(warm_box& w, const box_spec& spec) {
  box& b = *w.b;
  auto named = root_ ? name_by_thread(b.pidfd.get(), spec.id) : name_by_process(b.pidfd.get(), spec.id);
  if (!named) return named;
  if (auto told = write_names(w.fs.get(), spec.id); !told) return told;
  for (const std::string name : {"hostname", "hosts"}) {
    if (auto now = mark_of_file(w.fs.get(), ("layers/etc/upper/" + name).c_str())) b.mark["/etc/" + name] = *now;
  }
  if (auto kept = write_atomically(w.folder.get(), "mark", encode(b.mark)); !kept) return kept;
  if (::syscall(SYS_renameat2, boxes_.get(), b.record.id.c_str(), boxes_.get(), spec.id.c_str(), RENAME_NOREPLACE) !=
      0) {
    if (errno == EEXIST)
      return fail(errc::conflict, "sandbox_exists", "a folder of a box \"" + spec.id + "\" exists already",
                  "Choose another id.");
    return errno_error(errno, "name the sandbox's folder");
  }
  b.id = b.record.id = spec.id;
  b.record.phase = "running";
  if (auto kept = write_record(b.record); !kept) return kept;
  name_evidence(b);
  files_.name(b.record.process.pid, b.id, b.mark);
  const std::string env = to_text(json(spec.env));
  std::size_t sent = 0;
  while (sent < env.size()) {
    const ssize_t n = ::write(w.env.get(), env.data() + sent, env.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "hand over the environment");
    sent += static_cast<std::size_t>(n);
  }
  w.env.reset();
  return await_ready(b, w.ready.get());
}

}  // namespace caged::vmm::jail
