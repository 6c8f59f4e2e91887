// Clones that wait: made ahead, with their state loaded, so that a box costs only the word to go on.
#include "keeper.hpp"

#include "control.hpp"
#include "qmp.hpp"
#include "sockets.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <caged/random.hpp>

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;
constexpr auto practice_deadline = 60s;

// A whole conversation with the agent: one command, its output, its end.
result<void> run_once(const std::filesystem::path& where) {
  auto agent = connect_at(where, "agent.sock", 5s);
  if (!agent) return agent.error();
  std::string text;
  wire::append_message(text, 0, R"({"hello":{"protocol":"caged-wire","generation":1,"oldest":1}})");
  wire::append_message(text, 0, R"({"id":1,"op":"exec.start","args":{"command":"echo ready","channel":1}})");
  if (auto sent = send_with(agent->get(), text, -1); !sent) return sent;
  const auto until = std::chrono::steady_clock::now() + practice_deadline;
  wire::decoder decoder;
  for (;;) {
    wire::frame f;
    const auto status = decoder.next(f);
    // A template without a shell refuses; that is an answer too.
    if (status == wire::decoder::status::ready) {
      const bool ended = f.channel == 1 && f.kind == wire::frame_kind::message;
      if (ended || (f.channel == 0 && f.payload.find("\"error\":") != std::string_view::npos)) return {};
      continue;
    }
    if (status == wire::decoder::status::broken || !wait_for(agent->get(), POLLIN, until))
      return fail(errc::deadline_exceeded, "agent_timeout", "the agent in the virtual machine did not answer in time");
    const auto room = decoder.prepare();
    const ssize_t n = ::recv(agent->get(), room.data(), room.size(), 0);
    if (n <= 0) return fail(errc::unavailable, "sandbox_lost", "the virtual machine has ended");
    decoder.commit(static_cast<std::size_t>(n));
  }
}

}  // namespace

result<void> keeper::practise(const std::filesystem::path& where) {
  auto talk = control::open(where);
  if (!talk) return talk.error();
  box nobody;
  nobody.id = "caged";
  nobody.machine_id = random_hex("", 16);
  nobody.boot_id = nobody.machine_id;
  if (auto going = talk->go(word_of(nobody, true), practice_deadline); !going) return going.error();
  if (auto ran = run_once(where); !ran) return ran;
  return talk->hold(practice_deadline);
}

std::unique_ptr<keeper::spare> keeper::take_spare(const base& from) {
  const std::lock_guard lock(guard_);
  for (auto it = spares_.begin(); it != spares_.end(); ++it) {
    if ((*it)->base != from.folder.filename().string()) continue;
    auto out = std::move(*it);
    spares_.erase(it);
    return out;
  }
  return nullptr;
}

// Only for templates: what a snapshot's next fork would be is not known, and may never come.
void keeper::want_spares(const base& from) {
  if (options_.warm == 0 || from.folder.parent_path().filename() != "bases") return;
  const std::lock_guard lock(guard_);
  if (closed_) return;
  wanted_ = from;
  if (filling_) return;
  filling_ = true;
  if (filler_.joinable()) filler_.join();  // it has said that it is done; nothing of it needs the lock any more
  filler_ = std::thread([this] { fill(); });
}

void keeper::fill() {
  for (;;) {
    base from;
    std::vector<std::unique_ptr<spare>> useless;
    {
      const std::lock_guard lock(guard_);
      from = wanted_;
      const std::string name = from.folder.filename().string();
      for (auto it = spares_.begin(); it != spares_.end();) {
        if ((*it)->base == name) {
          ++it;
        } else {
          useless.push_back(std::move(*it));
          it = spares_.erase(it);
        }
      }
      if (closed_ || spares_.size() >= options_.warm) {
        filling_ = false;
        if (useless.empty()) return;
      }
    }
    for (const auto& s : useless) {
      kill_machine(s->now);
      sweep(s->folder);
    }
    {
      const std::lock_guard lock(guard_);
      if (!filling_) return;
    }
    auto made = std::make_unique<spare>();
    made->base = from.folder.filename().string();
    made->folder = options_.data / "boxes" / random_id("~spare-", 12);
    made->uid = new_uid();
    auto ran = clone(from, made->folder, made->uid);
    if (!ran) {
      host_.log(log_level::warn, "no clone can be made ahead: " + describe(ran.error()));
      sweep(made->folder);
      const std::lock_guard lock(guard_);
      filling_ = false;
      return;
    }
    made->now = std::move(*ran);
    const auto exercise = [&]() -> result<void> {
      auto monitor = qmp::open(made->folder, 20s);
      if (!monitor) return monitor.error();
      if (auto runs = monitor->call("cont"); !runs) return runs.error();
      if (auto done = practise(made->folder); !done) return done;
      if (auto stopped = monitor->call("stop"); !stopped) return stopped.error();
      return {};
    };
    if (auto done = exercise(); !done) {
      host_.log(log_level::warn, "a clone that was made ahead is of no use: " + describe(done.error()));
      kill_machine(made->now);
      sweep(made->folder);
      const std::lock_guard lock(guard_);
      filling_ = false;
      return;
    }
    const std::lock_guard lock(guard_);
    spares_.push_back(std::move(made));
  }
}

void keeper::close() {
  std::vector<std::unique_ptr<spare>> left;
  {
    const std::lock_guard lock(guard_);
    closed_ = true;
  }
  if (filler_.joinable()) filler_.join();
  {
    const std::lock_guard lock(guard_);
    left.swap(spares_);
  }
  for (const auto& s : left) {
    kill_machine(s->now);
    sweep(s->folder);
  }
}

}  // namespace caged::vmm::qemu
