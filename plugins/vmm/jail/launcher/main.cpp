// caged-jail-launcher: makes one box for the plugin at the other end of its control socket.
//
// Single-threaded, static, no shell, no configuration, no environment: everything comes as one message with its
// descriptors. One request per process today; serve() takes one request and could be called in a loop.
//
//   plugin → launch spec + descriptors        launcher → pid
//   plugin → go (the pid is on disk)          launcher → missing… ok | failed wall step errno
//
//   plugin → gate spec + pidfd                launcher → ok kinds… + sockets | failed wall step errno
//
// The box's first process is made as a child of the plugin (CLONE_PARENT), so that the plugin can wait for it, and
// does nothing before "go": a plugin that dies early leaves no box behind that its records do not name.
#include "launcher/contain.hpp"
#include "launcher/descriptor_message.hpp"
#include "launcher/gate.hpp"
#include "launcher/owners.hpp"
#include "launcher/witness.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <algorithm>
#include <cstdio>
#include <cstring>

namespace caged::vmm::jail {
namespace {

struct request {
  launch_spec spec;
  std::optional<gate_spec> gate;  // instead of a launch
  handed_fds fds;
};

request receive_request(int control) {
  std::string text(message_limit, '\0');
  iovec piece{text.data(), text.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(handed_count * sizeof(int))];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  const ssize_t n = ::recvmsg(control, &message, MSG_CMSG_CLOEXEC);
  if (n <= 0) fail_step("launcher", "receive the request");
  request out;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (i < handed_count)
        out.fds[i].reset(fd);
      else
        ::close(fd);
    }
  }
  out.gate = decode_gate(std::string_view(text.data(), static_cast<std::size_t>(n)));
  if (out.gate && out.fds.front()) return out;
  auto spec = decode(std::string_view(text.data(), static_cast<std::size_t>(n)));
  if (!spec || !out.fds.back()) fail_step("launcher", "understand the request", EPROTO);
  out.spec = std::move(*spec);
  return out;
}

void send_message(int control, const std::string& text) {
  // MSG_NOSIGNAL: a plugin that went away is noticed at the next read.
  (void)::send(control, text.data(), text.size(), MSG_NOSIGNAL);
}

void send_sockets(int control, const namespace_sockets& sockets) {
  message_writer text;
  text.word("ok").list(sockets.kinds);
  std::array<int, inner_most> numbers{};
  const std::size_t count = std::min(sockets.fds.size(), numbers.size());
  for (std::size_t i = 0; i < count; ++i) numbers[i] = sockets.fds[i].get();
  iovec piece{const_cast<char*>(text.text().data()), text.text().size()};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof numbers)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(count * sizeof(int));
  std::memcpy(CMSG_DATA(c), numbers.data(), count * sizeof(int));
  must(static_cast<int>(::sendmsg(control, &message, MSG_NOSIGNAL)), "netns", "hand over the sockets");
}

void write_file(const std::string& path, const std::string& text) {
  unique_fd fd(must(::open(path.c_str(), O_WRONLY | O_CLOEXEC), "userns", "open " + path));
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    fail_step("userns", "write " + path);
}

// Safe to name the process by number: its parent is the plugin, which reaps it only after we are done.
void map_ids(const launch_spec& spec, pid_t pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  if (spec.uid_base != 0) {
    const std::string map = "0 " + std::to_string(spec.uid_base) + " " + std::to_string(spec.uid_count);
    write_file(proc + "/uid_map", map);
    write_file(proc + "/gid_map", map);
    return;
  }
  write_file(proc + "/setgroups", "deny");  // the kernel's condition for an ordinary user's group map
  write_file(proc + "/uid_map", "0 " + std::to_string(spec.user_uid) + " 1");
  write_file(proc + "/gid_map", "0 " + std::to_string(spec.user_gid) + " 1");
}

std::string failure_text(const step_failure& f) {
  return message_writer().word("failed").word(f.wall).word(f.step).number(static_cast<std::uint64_t>(f.err)).text();
}

struct channel {
  unique_fd read, write;
};

// Both directions work; the write end can carry descriptors.
channel make_report() {
  int ends[2];
  must(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "launcher", "make a socket pair");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

channel make_channel() {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC), "launcher", "make a pipe");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

// In the box's first process, before it is contained.
[[noreturn]] void first_process(request& r, detached_trees& trees, channel& go, channel& report, int control) {
  try {
    go.write.reset();
    report.read.reset();
    ::close(control);
    char byte = 0;
    if (::read(go.read.get(), &byte, 1) != 1) ::_exit(120);  // the launcher gave up; nothing was made yet
    contain(r.spec, std::move(r.fds), std::move(trees), report.write.get());
  } catch (const step_failure& f) {
    const std::string text = failure_text(f);
    // Descriptors may have been rearranged: the report pipe is the lowest write end that is still ours.
    for (int fd : {report.write.get(), 74, 75, 76}) {
      if (::write(fd, text.data(), text.size()) > 0) break;
    }
  } catch (...) {
  }
  ::_exit(121);
}

pid_t clone_first_process(request& r, detached_trees& trees, channel& go, channel& report, int control,
                          unique_fd& pidfd) {
  constexpr std::uint64_t new_time = 0x80;  // CLONE_NEWTIME
  int fd = -1;
  clone_arguments args{};
  args.pidfd = reinterpret_cast<std::uint64_t>(&fd);
  args.flags = namespace_flags() | new_time | CLONE_PIDFD | CLONE_PARENT;
  pid_t pid = sys_clone3(args);
  if (pid < 0 && errno == EINVAL) {
    args.flags &= ~new_time;  // a kernel without time namespaces; the boot clock is no secret worth a refusal
    pid = sys_clone3(args);
  }
  must(pid, "userns", "make the namespaces");
  if (pid == 0) first_process(r, trees, go, report, control);
  pidfd.reset(fd);
  return pid;
}

// Reads until the first process has executed the agent (its end closes), has failed, or has handed out the listener
// that has to be answered before it can execute anything.
std::string read_report(int fd, unique_fd& listener) {
  std::string text;
  std::array<char, 4096> piece;
  while (!listener && text.size() < message_limit / 2) {
    const ssize_t n = receive_with_descriptor(fd, piece.data(), piece.size(), listener);
    if (n <= 0) break;
    if (!listener) text.append(piece.data(), static_cast<std::size_t>(n));
  }
  return text;
}

void serve(int control) {
  request r = receive_request(control);
  if (r.gate) {
    send_sockets(control, serve_gate(*r.gate, r.fds.front().get()));
    return;
  }
  detached_trees trees;
  // Only the host's root may change who owns files in a mount; an ordinary user's box clones its trees itself.
  if (r.spec.uid_base != 0) {
    trees = clone_trees(r.spec, r.fds[static_cast<std::size_t>(handed::box_folder)].get(),
                        r.fds[static_cast<std::size_t>(handed::agent_program)].get());
    if (r.spec.disk_base != 0 && r.spec.disk_base != r.spec.uid_base) map_box_owners(trees.box.get(), r.spec);
  }
  channel go = make_channel(), report = make_report();
  unique_fd pidfd;
  const pid_t pid = clone_first_process(r, trees, go, report, control, pidfd);
  go.read.reset();
  report.write.reset();
  try {
    map_ids(r.spec, pid);
    bool owners = true;
    if (r.spec.uid_base != 0) {
      unique_fd ns(must(::open(("/proc/" + std::to_string(pid) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC), "userns",
                        "open the user namespace"));
      owners = map_owners(trees, ns.get());
    }
    send_message(control, message_writer()
                              .word("pid")
                              .number(static_cast<std::uint64_t>(pid))
                              .word(owners ? "mapped" : "unmapped")
                              .text());
    char answer[16];
    if (::recv(control, answer, sizeof answer, 0) <= 0) fail_step("launcher", "wait for the go", ECANCELED);
    if (::write(go.write.get(), "g", 1) != 1) fail_step("launcher", "start the first process");
    go.write.reset();
    unique_fd listener;
    std::string text = read_report(report.read.get(), listener);
    if (text.find("failed") == std::string::npos) text += message_writer().word("ok").text();
    (void)send_with_descriptor(control, text, listener.get());
  } catch (const step_failure&) {
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    throw;
  }
}

}  // namespace
}  // namespace caged::vmm::jail

int main(int argc, char** argv) {
  using namespace caged::vmm::jail;
  // Stands in for the agent when the plugin tries what this machine can give.
  if (argc > 1 && std::strcmp(argv[1], "--listen-fd") == 0) return ::write(agent_ready_fd, "r", 1) == 1 ? 0 : 1;
  if (argc > 1 && std::strcmp(argv[1], "--witness") == 0) return run_witness();
  ::prctl(PR_SET_NAME, "caged-launcher");
  try {
    serve(control_fd);
    return 0;
  } catch (const step_failure& f) {
    send_message(control_fd, failure_text(f));
  } catch (...) {
    send_message(control_fd, failure_text({"launcher", "run out of memory", ENOMEM}));
  }
  return 1;
}
