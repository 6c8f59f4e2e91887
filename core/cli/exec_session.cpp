#include <core/cli/exec_session.hpp>

#include <poll.h>
#include <unistd.h>

namespace caged::cli {
namespace {

constexpr std::size_t piece_size = 32 * 1024;

error interrupted() {
  return fail(errc::cancelled, "interrupted", "interrupted twice; the command did not end by itself", "");
}

error broke_off(const http::client_websocket& socket) {
  const std::string reason = socket.close_reason();
  return fail(errc::unavailable, "connection_lost",
              "the connection to the server ended before the command did" + (reason.empty() ? "" : " (" + reason + ")"),
              "The command may still run: see 'caged ps'. Check that the server is up with 'caged doctor'.");
}

// The problem of an error frame as an error of ours.
error frame_error(const json& frame) {
  const json problem = frame.contains("problem") ? frame["problem"] : frame.value("error", frame);
  const json reason = problem.is_object() ? problem.value("reason", json::object()) : json::object();
  const auto text = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>()
                                                                                 : std::string();
  };
  std::string message = text(reason, "message");
  if (message.empty()) message = text(problem, "detail");
  if (message.empty()) message = "the server refused to run the command";
  return fail(errc::unavailable, text(reason, "code"), message, text(reason, "action"), text(reason, "path"));
}

// Everything that runs beside the reading of output. Its thread is the socket's only writer.
class feeder {
 public:
  feeder(http::client_websocket& socket, stdin_use in, tty_use tty) : socket_(socket), in_(in), tty_(tty) {}
  ~feeder() { stop(); }

  void start() {
    thread_ = std::thread([this] { run(); });
  }
  // The size of the terminal has changed. Any thread.
  void resized() { wake_.set(); }
  void stop() {
    stopping_ = true;
    wake_.set();
    // A write that waits for a command which reads nothing would hold join() for ever.
    if (thread_.joinable()) {
      socket_.interrupt();
      thread_.join();
    }
  }

 private:
  void run() {
    if (in_ == stdin_use::none && !send_text({{"type", "stdin_close"}})) return;
    bool reading = in_ == stdin_use::forward;
    while (!stopping_) {
      pollfd waiting[] = {{wake_.descriptor(), POLLIN, 0}, {reading ? STDIN_FILENO : -1, POLLIN, 0}};
      if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return;
      if (stopping_) return;
      if (waiting[0].revents != 0) {
        wake_.clear();
        if (!send_size()) return;
      }
      if (waiting[1].revents != 0 && !forward(reading)) return;
    }
  }

  bool forward(bool& reading) {
    std::string piece(piece_size, '\0');
    const ssize_t n = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (n < 0) {
      if (errno == EINTR || errno == EAGAIN) return true;
      reading = false;
      return send_text({{"type", "stdin_close"}});
    }
    if (n == 0) {
      reading = false;
      return send_text({{"type", "stdin_close"}});
    }
    piece.resize(static_cast<std::size_t>(n));
    stream_message message;
    message.text = false;
    message.data = std::move(piece);
    return socket_.write(std::move(message)).has_value();
  }

  bool send_size() {
    if (tty_ != tty_use::pty) return true;
    const window_size size = terminal_size();
    return send_text({{"type", "resize"}, {"rows", size.rows}, {"cols", size.cols}});
  }

  bool send_text(const json& frame) {
    stream_message message;
    message.data = to_text(frame);
    return socket_.write(std::move(message)).has_value();
  }

  http::client_websocket& socket_;
  stdin_use in_;
  tty_use tty_;
  event_flag wake_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// Sends signals to the command, over requests of its own: the socket may be blocked by input nobody reads.
class signal_sender {
 public:
  signal_sender(session& s, std::string sandbox_id) : session_(s), sandbox_(std::move(sandbox_id)) {}

  // From the reading thread, once the process is known.
  void started(std::string process_id) {
    std::vector<int> waiting;
    {
      const std::lock_guard lock(mutex_);
      process_ = std::move(process_id);
      waiting.swap(early_);
    }
    for (const int number : waiting) send(number);
  }

  // From the signal thread.
  void deliver(int number) {
    {
      const std::lock_guard lock(mutex_);
      if (process_.empty()) {
        early_.push_back(number);
        return;
      }
    }
    send(number);
  }

 private:
  void send(int number) {
    auto client = session_.connect();
    if (!client) return;
    const auto path = sandbox_path(sandbox_, "/processes/" + http::encode_component(process_) + "/signal");
    // It may have ended meanwhile; then the exit frame is on its way and says all there is to say.
    (void)client->call("POST", path, {{"signal", signal_name(number)}}, std::chrono::seconds(5));
  }

  session& session_;
  std::string sandbox_;
  std::mutex mutex_;
  std::string process_;
  std::vector<int> early_;
};

// Ends with: the outcome, an error, or nothing yet.
using step = std::optional<result<exec_outcome>>;

step handle_text(const std::string& text, signal_sender& sender) {
  auto frame = parse_json(text);
  if (!frame || !frame->is_object()) {
    return result<exec_outcome>(fail(errc::internal, "unexpected_answer", "the server sent a frame that is not JSON",
                                     "Check that client and server have the same version ('caged version')."));
  }
  const std::string type = field(*frame, "type");
  if (type == "start") sender.started(field(*frame, "process_id"));
  if (type == "error") return result<exec_outcome>(frame_error(*frame));
  if (type != "exit") return std::nullopt;
  exec_outcome out;
  out.code = exit_code_of(*frame);
  out.exit = std::move(*frame);
  return result<exec_outcome>(std::move(out));
}

result<exec_outcome> read_to_end(http::client_websocket& socket, signal_sender& sender, std::atomic<bool>& cancelled) {
  bool out_open = true;
  bool err_open = true;
  for (;;) {
    auto message = socket.read();
    if (cancelled) return interrupted();
    if (!message) return message.error();
    if (!*message) return broke_off(socket);
    const stream_message& m = **message;
    if (m.text) {
      if (auto done = handle_text(m.data, sender)) return std::move(*done);
      continue;
    }
    if (m.data.empty()) continue;
    const bool to_err = m.data[0] == 2;
    bool& open = to_err ? err_open : out_open;
    if (!open) continue;
    open = write_all(to_err ? STDERR_FILENO : STDOUT_FILENO, std::string_view(m.data).substr(1));
    // As in a shell: a command whose reader has gone is told so.
    if (!open) sender.deliver(SIGPIPE);
  }
}

}  // namespace

int exit_code_of(const json& frame) {
  if (!frame.is_object()) return 125;
  if (frame.contains("timed_out") && frame["timed_out"] == true) return 124;
  if (const auto it = frame.find("signal"); it != frame.end() && !it->is_null()) {
    int number = 0;
    if (it->is_string()) number = signal_number(it->get<std::string>());
    if (it->is_number_integer()) number = it->get<int>();
    if (number > 0) return 128 + number;
  }
  if (const auto it = frame.find("exit_code"); it != frame.end() && it->is_number_integer()) {
    const auto code = it->get<std::int64_t>();
    return code >= 0 && code <= 255 ? static_cast<int>(code) : 125;
  }
  return 125;
}

int exit_code_of_refusal(const error& refusal) {
  if (refusal.reason == "program_not_found") return 127;
  if (refusal.reason == "not_executable") return 126;
  return 0;
}

stdin_use choose_stdin(tty_use tty, bool asked, bool refused) {
  if (refused) return stdin_use::none;
  if (asked || tty == tty_use::pty) return stdin_use::forward;
  return ::isatty(STDIN_FILENO) == 1 ? stdin_use::none : stdin_use::forward;
}

result<exec_outcome> run_exec(session& s, const std::string& id, exec_plan plan, signal_watch& signals) {
  auto client = s.connect();
  if (!client) return client.error();
  auto opened = client->websocket(sandbox_path(id, "/exec/ws"), "exec");
  if (!opened) return opened.error();
  http::client_websocket socket = std::move(*opened);

  if (plan.tty == tty_use::pty) {
    const window_size size = terminal_size();
    plan.input["tty"] = true;
    plan.input["rows"] = size.rows;
    plan.input["cols"] = size.cols;
  }
  stream_message first;
  first.data = to_text(plan.input);
  if (auto ok = socket.write(std::move(first)); !ok) return ok.error();

  signal_sender sender(s, id);
  feeder input(socket, plan.in, plan.tty);
  std::atomic<bool> cancelled{false};
  std::atomic<int> interrupts{0};
  signals.hand_to([&](int number) {
    if (number == SIGWINCH) return input.resized();
    if (number == SIGINT && ++interrupts > 1) {
      cancelled = true;
      return socket.interrupt();
    }
    sender.deliver(number);
  });
  std::optional<raw_mode> raw;
  if (plan.tty == tty_use::pty) raw.emplace();
  input.start();
  auto outcome = read_to_end(socket, sender, cancelled);
  signals.hand_to(nullptr);
  input.stop();
  return outcome;
}

result<piped_outcome> run_piped(http::client& client, const std::string& id, json input,
                                std::function<result<std::string>()> feed,
                                std::function<result<void>(std::string_view)> take) {
  auto opened = client.websocket(sandbox_path(id, "/exec/ws"), "exec");
  if (!opened) return opened.error();
  http::client_websocket socket = std::move(*opened);
  stream_message first;
  first.data = to_text(input);
  if (auto ok = socket.write(std::move(first)); !ok) return ok.error();

  std::optional<error> feed_failure;
  std::atomic<bool> fed{false};
  std::thread writer([&] {
    for (;;) {
      auto piece = feed();
      if (!piece) {
        feed_failure = piece.error();
        fed = true;
        return socket.interrupt();
      }
      stream_message message;
      message.text = piece->empty();
      message.data = piece->empty() ? to_text({{"type", "stdin_close"}}) : std::move(*piece);
      const bool last = message.text;
      if (!socket.write(std::move(message)) || last) break;
    }
    fed = true;
  });
  struct joiner {
    http::client_websocket& socket;
    std::thread& thread;
    std::atomic<bool>& fed;
    ~joiner() {
      if (!fed) socket.interrupt();
      thread.join();
    }
  };
  piped_outcome out;
  const auto failure = [&]() -> std::optional<error> {
    const joiner guard{socket, writer, fed};
    for (;;) {
      auto message = socket.read();
      if (!message) return message.error();
      if (!*message) return broke_off(socket);
      const stream_message& m = **message;
      if (!m.text && m.data.size() > 1) {
        const std::string_view bytes = std::string_view(m.data).substr(1);
        if (m.data[0] == 2) {
          out.complaints.append(bytes.substr(0, 8192 - std::min<std::size_t>(8192, out.complaints.size())));
        } else if (auto ok = take(bytes); !ok) {
          return ok.error();
        }
      }
      if (!m.text) continue;
      const auto frame = parse_json(m.data);
      if (!frame || !frame->is_object()) continue;
      if (field(*frame, "type") == "error") return frame_error(*frame);
      if (field(*frame, "type") != "exit") continue;
      out.code = exit_code_of(*frame);
      return std::nullopt;
    }
  }();
  if (feed_failure) return *feed_failure;
  if (failure) return *failure;
  return out;
}

}  // namespace caged::cli
