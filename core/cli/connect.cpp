#include <core/cli/connect.hpp>

#include <core/cli/exec_session.hpp>
#include <core/cli/terminal.hpp>

#include <poll.h>
#include <unistd.h>

namespace caged::cli {
namespace {

constexpr char detach_key = 0x1d;

enum class ending : std::uint8_t { unset = 0, detached, input_closed, signalled };

bool send_text(http::client_websocket& socket, const json& frame) {
  stream_message message;
  message.data = to_text(frame);
  return socket.write(std::move(message)).has_value();
}

// The keyboard's side of the conversation; the socket's only writer. Runs on a thread of its own.
void pump_keys(http::client_websocket& socket, event_flag& resize, event_flag& stop, std::atomic<ending>& why) {
  bool reading = true;
  for (;;) {
    pollfd waiting[] = {
        {stop.descriptor(), POLLIN, 0}, {resize.descriptor(), POLLIN, 0}, {reading ? STDIN_FILENO : -1, POLLIN, 0}};
    // The server forgets a silent terminal; a ping keeps the road open and finds a dead one.
    const int ready = ::poll(waiting, 3, 20'000);
    if (ready < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) return;
    if (ready == 0 && !send_text(socket, {{"type", "ping"}})) return;
    if (waiting[1].revents != 0) {
      resize.clear();
      const window_size size = terminal_size();
      if (!send_text(socket, {{"type", "resize"}, {"rows", size.rows}, {"cols", size.cols}})) return;
    }
    if (waiting[2].revents == 0) continue;
    char keys[4096];
    const ssize_t n = ::read(STDIN_FILENO, keys, sizeof keys);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      // Piped input has an end; the shell is told by the key that means it.
      reading = false;
      stream_message end;
      end.text = false;
      end.data = "\x04";
      if (!socket.write(std::move(end))) return;
      continue;
    }
    const typed parts = split_at_detach({keys, static_cast<std::size_t>(n)});
    if (!parts.bytes.empty()) {
      stream_message message;
      message.text = false;
      message.data = std::string(parts.bytes);
      if (!socket.write(std::move(message))) return;
    }
    if (parts.end == typed::key::detach) {
      why = ending::detached;
      socket.interrupt();
      return;
    }
  }
}

// Output until something ends; the shell's exit frame when there was one.
result<json> show_output(http::client_websocket& socket) {
  for (;;) {
    auto message = socket.read();
    if (!message) return message.error();
    if (!*message) {
      if (socket.close_code() == 1000) return json::object();
      const std::string reason = socket.close_reason();
      return fail(errc::unavailable, "connection_lost",
                  "the connection to the terminal ended" + (reason.empty() ? "" : " (" + reason + ")"),
                  "See 'caged connect --list' for the terminal and come back with --session.");
    }
    const stream_message& m = **message;
    if (!m.text) {
      write_all(STDOUT_FILENO, m.data);
      continue;
    }
    auto frame = parse_json(m.data);
    if (!frame || !frame->is_object()) continue;
    const std::string type = field(*frame, "type");
    if (type == "output" && (*frame)["data"].is_string()) write_all(STDOUT_FILENO, (*frame)["data"].get<std::string>());
    if (type == "exit") return *frame;
  }
}

result<int> list_terminals(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto terminals = client->call("GET", sandbox_path(id, "/terminal/sessions"));
  if (!terminals) return terminals.error();
  if (s.machine()) {
    s.print_document(*terminals);
    return 0;
  }
  table out({{"SESSION"}, {"COMMAND"}, {"SIZE"}, {"ATTACHED"}, {"STARTED"}});
  for (const json& t : *terminals) {
    out.add({field(t, "id"), field(t, "command"), field(t, "cols") + "x" + field(t, "rows"), field(t, "attached"),
             field(t, "started_at")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

}  // namespace

typed split_at_detach(std::string_view bytes) {
  const std::size_t at = bytes.find(detach_key);
  if (at == std::string_view::npos) return {bytes, typed::key::none};
  return {bytes.substr(0, at), typed::key::detach};
}

result<int> perform_connect(session& s, const connect_options& o) {
  if (o.list) return list_terminals(s, o.id);
  auto client = s.connect();
  if (!client) return client.error();
  const window_size size = terminal_size();
  const std::string target = sandbox_path(o.id, "/terminal") + query({{"rows", std::to_string(size.rows)},
                                                                      {"cols", std::to_string(size.cols)},
                                                                      {"session", o.session_id},
                                                                      {"command", o.command},
                                                                      {"binary", "true"}});
  event_flag resize;
  event_flag stop;
  std::atomic<ending> why{ending::unset};
  std::atomic<int> fatal{0};
  signal_watch signals(nullptr);
  auto opened = client->websocket(target, "terminal");
  if (!opened) return opened.error();
  http::client_websocket socket = std::move(*opened);
  if (!s.machine()) s.note("connected to " + o.id + "; Ctrl-] detaches");

  result<json> end = json();
  {
    const raw_mode raw;
    signals.hand_to([&](int number) {
      if (number == SIGWINCH) return resize.set();
      fatal = number;
      why = ending::signalled;
      socket.interrupt();
    });
    std::thread keys([&] { pump_keys(socket, resize, stop, why); });
    end = show_output(socket);
    stop.set();
    socket.interrupt();
    keys.join();
    signals.hand_to(nullptr);
  }
  if (why == ending::detached) {
    write_all(STDERR_FILENO, "\r\n");
    s.note("detached; the shell goes on (see 'caged connect " + o.id + " --list')");
    return 0;
  }
  if (fatal != 0) return 128 + fatal;
  if (!end) return end.error();
  return end->contains("type") ? exit_code_of(*end) : 0;
}

}  // namespace caged::cli
