#include "server.hpp"

#include <malloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>

#include "log.hpp"
#include "metrics/metrics.hpp"
#include "net/ports.hpp"
#include "operations.hpp"

extern "C" char __executable_start;
extern "C" char etext;

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_connections = 64;
constexpr auto port_interval = 2s;

// An idle agent keeps nothing it can have back: freed heap, and pages of its own program, which stay in the page cache
// that all boxes share.
void give_back_memory() {
  ::malloc_trim(0);
  const auto page = static_cast<std::uintptr_t>(::getpagesize());
  const auto from = (reinterpret_cast<std::uintptr_t>(&__executable_start) + page - 1) / page * page;
  const auto to = reinterpret_cast<std::uintptr_t>(&etext) / page * page;
  if (to > from) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

}  // namespace

server::server(loop& l, server_options options)
    : loop_(l),
      options_(std::move(options)),
      files_(options_.workspace, confinement::box),
      processes_(l, files_, options_.base_env, options_.reap),
      metrics_(std::make_unique<metrics_sampler>(files_.folder())),
      ports_(std::make_unique<port_watch>()) {
  processes_.on_exit([this](process& p) { notice_all("process_exit", p.summary()); });
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
  loop_.after(options_.metrics_interval, [this] { push_metrics(); });
  loop_.after(port_interval, [this] { poll_ports(); });
  trim_later();
}

server::~server() = default;

void server::listen(fd socket) {
  listener_ = std::move(socket);
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_all(); });
}

void server::accept_all() {
  for (;;) {
    fd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted) return;
    if (connections_.size() >= max_connections) {
      log_line(log_level::warn, "a connection was refused: 64 are open");
      continue;
    }
    serve(std::move(accepted));
  }
}

void server::serve(fd connected) {
  const json extra{{"heartbeat_ms", options_.heartbeat_interval.count()}, {"agent", CAGED_VERSION}};
  auto made = std::make_shared<connection>(
      loop_, std::move(connected), extra, [this](std::shared_ptr<call> asked) { handle(std::move(asked)); },
      [this](connection& gone) {
        // The connection is in use by its caller; it goes when the loop is back in its own hands.
        loop_.post([this, key = &gone] { connections_.erase(key); });
        trim_later();
      });
  connections_[made.get()] = made;
  made->start();
}

void server::handle(std::shared_ptr<call> asked) {
  trim_later();
  wire::failure refused;
  try {
    dispatch(*this, asked);
    return;
  } catch (const failed& f) {
    refused = f.get();
  } catch (const std::bad_alloc&) {
    refused = {"limit_exceeded", "out_of_memory", "the box has no memory left for " + asked->operation(),
               "End processes in the box, or give it more memory.", ""};
  } catch (const std::exception& e) {
    refused = {"internal", "agent_failure", asked->operation() + ": " + e.what(), "Report this as a bug.", ""};
  }
  asked->refuse(refused);
}

void server::answer_from_job(std::shared_ptr<call> asked, std::function<json(const call&)> work) {
  struct outcome {
    json value;
    std::optional<wire::failure> failure;
  };
  auto result = std::make_shared<outcome>();
  loop_.run_job(
      [asked, result, work = std::move(work)] {
        try {
          result->value = work(*asked);
        } catch (const failed& f) {
          result->failure = f.get();
        } catch (const std::exception& e) {
          result->failure = wire::failure{"internal", "agent_failure", e.what(), "Report this as a bug.", ""};
        }
      },
      [this, asked, result] {
        if (result->failure)
          asked->refuse(*result->failure);
        else
          asked->answer(std::move(result->value));
        trim_later();
      });
}

void server::notice_all(std::string_view type, const json& data) {
  for (const auto& [key, c] : connections_) c->send_notice(type, data);
}

void server::beat() {
  const auto uptime = std::chrono::duration_cast<std::chrono::milliseconds>(steady::now() - started_).count();
  if (!connections_.empty())
    notice_all("heartbeat", json{{"sequence", ++beats_}, {"uptime_ms", uptime}, {"processes", processes_.running()}});
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
}

void server::push_metrics() {
  if (!connections_.empty()) {
    notice_all("metrics", metrics_->sample());
    trim_later();
  }
  loop_.after(options_.metrics_interval, [this] { push_metrics(); });
}

void server::poll_ports() {
  if (!connections_.empty()) {
    const port_changes changes = ports_->poll();
    for (const listening_port& p : changes.opened) notice_all("port_opened", to_json(p));
    for (const listening_port& p : changes.closed) notice_all("port_closed", to_json(p));
  }
  loop_.after(port_interval, [this] { poll_ports(); });
}

json server::ports() const { return ports_->list(); }

void server::trim_later() {
  if (trim_due_) return;
  trim_due_ = true;
  loop_.after(1s, [this] {
    trim_due_ = false;
    give_back_memory();
  });
}

void server::shut_down(std::chrono::milliseconds grace) {
  if (stopping_) return;
  stopping_ = true;
  log_line(log_level::info, "shutting down");
  if (listener_) loop_.remove(listener_.get());
  listener_.reset();
  processes_.signal_all(SIGTERM);
  processes_.signal_all(SIGCONT);
  await_empty(steady::now() + grace);
}

void server::await_empty(steady::time_point kill_at) {
  processes_.reap();
  const bool late = steady::now() >= kill_at;
  if (processes_.running() != 0 && (!late || !killed_)) {
    if (late) {
      killed_ = true;
      kill_at = steady::now() + 2s;  // what even SIGKILL does not end (a stuck device) must not keep the agent
    }
    if (late) processes_.signal_all(SIGKILL);
    loop_.after(10ms, [this, kill_at] { await_empty(kill_at); });
    return;
  }
  if (!killed_) processes_.signal_all(SIGKILL);  // background children of processes that have ended
  loop_.after(50ms, [this] { loop_.stop(); });   // exits and answers still on their way out
}

}  // namespace caged::agent
