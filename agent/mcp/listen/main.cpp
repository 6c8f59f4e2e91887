// caged-mcp-listen: what caged-mcp-server becomes in the modes ws and http. The same tools on the SDK's HTTP front.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caged/http_front.hpp>
#include <caged/mcp_front/front_service.hpp>
#include <caged/random.hpp>
#include <cstdio>
#include <cstdlib>

#include "mcp/server/isolate.hpp"
#include "mcp/server/start.hpp"
#include "mcp/server/workspace.hpp"

namespace caged::mcp {
namespace {

// Lets Asio drive the loop that the tools live on: one thread for both.
class loop_driver {
 public:
  loop_driver(asio::io_context& io, agent::loop& l) : io_(io), loop_(l), ready_(io, ::dup(l.descriptor())), timer_(io) {
    loop_.on_earlier_timer([this] { arm(); });
    wait();
    step();
  }

 private:
  void wait() {
    ready_.async_wait(asio::posix::descriptor_base::wait_read, [this](boost::system::error_code ec) {
      if (ec) return;
      wait();
      step();
    });
  }
  void step() {
    loop_.step();
    arm();
  }
  void arm() {
    const auto next = loop_.next_timer();
    if (next == agent::steady::time_point::max()) return;
    timer_.expires_at(next);
    timer_.async_wait([this](boost::system::error_code ec) {
      if (!ec) step();
    });
  }
  asio::io_context& io_;
  agent::loop& loop_;
  asio::posix::stream_descriptor ready_;
  asio::steady_timer timer_;
};

admission gate_of(const server_options& o, std::shared_ptr<toolbox> tools) {
  return [token = o.token, mode = o.mode, tools](std::string credential, http::request head) -> task<surroundings> {
    struct check {
      static task<surroundings> run(std::string wanted, serve_mode m, std::shared_ptr<toolbox> box, std::string given,
                                    http::request h) {
        const bool socket = !h.field("sec-websocket-key").empty();
        if (h.path != "/" && h.path != "/mcp" && h.path != "/mcp/ws" && h.path != "/ws")
          co_return fail(errc::not_found, "no_such_route", "there is nothing at " + h.path, "The endpoint is /mcp.");
        if (!wanted.empty() && given.empty())
          co_return fail(errc::unauthenticated, "no_credential", "the request has no token",
                         "Send \"Authorization: Bearer …\"");
        if (!wanted.empty() && !equal_constant_time(wanted, given))
          co_return fail(errc::unauthenticated, "wrong_token", "the token is wrong",
                         "Use the one that the server was started with.");
        if (m == serve_mode::ws && !socket)
          co_return fail(errc::not_found, "websocket_only", "this server speaks MCP over WebSocket only",
                         "Start it with --mode http for Streamable HTTP.");
        if (m == serve_mode::http && socket)
          co_return fail(errc::not_found, "http_only", "this server speaks Streamable HTTP only",
                         "Start it with --mode ws for WebSockets.");
        surroundings in;
        in.content = box;
        in.who = server_identity();
        co_return in;
      }
    };
    return check::run(token, mode, tools, std::move(credential), std::move(head));
  };
}

front_options front_settings() {
  front_options f;
  f.message_bytes = 16u << 20;
  return f;
}

int run(int argc, char** argv) {
  server_options o = read_server_options(argc, argv);
  if (!o.error.empty()) return complain(o.error + ". --help lists the flags.");
  hide_token(argc, argv);
  agent::set_log_level(o.level);
  if (const std::string failed = enter_guarded(o); !failed.empty()) return complain(failed);
  ::prctl(PR_SET_DUMPABLE, 0);
  try {
    asio::io_context io(1);
    http::server_options front_options;
    front_options.origins = o.allowed_origins;
    front_options.names = o.allowed_hosts;
    front_options.log = [](log_level l, std::string text) {
      agent::log_line(l >= log_level::warn ? agent::log_level::warn : agent::log_level::debug, text);
    };
    const auto front = http::server::make(io.get_executor(), std::move(front_options));
    const auto listening = front->listen(o.listen, o.port);
    if (listening.has_error()) return complain(describe(listening.error()));
    if (const std::string failed = close_jail(o); !failed.empty()) return complain(failed);
    agent::fd signals = block_signals();
    agent::loop events;
    const auto tools = std::make_shared<workspace>(events, o);
    const auto service =
        std::make_shared<front_service>(io.get_executor(), *front, front_settings(), gate_of(o, tools));
    const auto routed = front->route("", "/", [service](std::shared_ptr<http::exchange> exchange) {
      return front_service::handle(service, std::move(exchange));
    });
    if (routed.has_error()) return complain(describe(routed.error()));
    bool stopping = false;
    events.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
      signalfd_siginfo info{};
      bool child = false;
      while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        if (info.ssi_signo == SIGCHLD)
          child = true;
        else
          stopping = true;
      }
      if (child) tools->on_child_signal();
      if (stopping) io.stop();
    });
    loop_driver driver(io, events);
    for (const std::string& warning : o.warnings) agent::log_line(agent::log_level::warn, warning);
    front->start();
    agent::log_line(agent::log_level::info, "listening on " + *listening + "/mcp for " + tools->files().folder());
    io.run();
    service->close();
    tools->kill_all();
    std::_Exit(0);
  } catch (const std::exception& e) {
    return complain(e.what());
  }
}

}  // namespace
}  // namespace caged::mcp

int main(int argc, char** argv) { return caged::mcp::run(argc, argv); }
