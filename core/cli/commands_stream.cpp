// caged logs and caged events: what happened, and what happens.
#include <core/cli/commands.hpp>

#include <core/cli/event_text.hpp>

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace caged::cli {
namespace {

struct stream_options {
  std::string id, type, after;
  std::uint64_t tail = 0;
  bool follow = false;
};

// A stream that ends because the server restarts is taken up again where it ended; for so long in a row.
constexpr int most_reconnects = 30;

bool wanted(const json& event, const std::string& type) { return type.empty() || field(event, "type") == type; }

result<int> perform_logs(session& s, const stream_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  const auto show = [&s](const json& line) { s.machine() ? s.print_line(line) : (void)s.print(log_line(line)); };
  const std::string tail = o.tail > 0 ? std::to_string(o.tail) : "";
  if (!o.follow) {
    auto lines = client->call("GET", sandbox_path(o.id, "/logs") + query({{"tail", tail}}));
    if (!lines) return lines.error();
    for (const json& line : *lines) show(line);
    return 0;
  }
  http::client_request request;
  request.target = sandbox_path(o.id, "/logs/stream") + query({{"tail", tail}});
  auto stream = client->events(std::move(request));
  if (!stream) return stream.error();
  for (;;) {
    auto next = stream->next();
    if (!next) return next.error();
    if (!*next) return 0;
    auto line = parse_json((*next)->data);
    if (!line) continue;
    if ((*next)->event == "error") return fail(errc::unavailable, field(*line, "code"), field(*line, "message"));
    show(*line);
  }
}

// Ends a stream that is silent for a while: how a live stream is read up to now. Counts only while nothing comes.
class silence_watch {
 public:
  silence_watch(http::client_stream& stream, std::chrono::milliseconds longest)
      : stream_(stream), longest_(longest), thread_([this] { watch(); }) {}
  ~silence_watch() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void heard() {
    const std::lock_guard lock(mutex_);
    ++heard_;
    wake_.notify_all();
  }
  bool ended() const noexcept { return ended_; }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!done_) {
      const auto before = heard_;
      if (wake_.wait_for(lock, longest_, [&] { return done_ || heard_ != before; })) continue;
      ended_ = true;
      stream_.interrupt();
      return;
    }
  }

  http::client_stream& stream_;
  std::chrono::milliseconds longest_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint64_t heard_ = 0;
  bool done_ = false;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// Reads one connection's worth. True: it broke off and may be taken up again after `after`.
result<bool> read_events(session& s, http::client& client, const stream_options& o, std::string& after, int& failures) {
  http::client_request request;
  request.target = (o.id.empty() ? "/v1/events" : sandbox_path(o.id, "/events")) + query({{"after", after}});
  auto stream = client.events(std::move(request));
  if (!stream) return stream.error();
  std::optional<silence_watch> silence;
  if (!o.follow) silence.emplace(stream->stream(), std::chrono::milliseconds(700));
  for (;;) {
    auto next = stream->next();
    if (silence && silence->ended()) return false;
    if (silence) silence->heard();
    if (!next) {
      if (next.error().code != errc::unavailable && next.error().code != errc::deadline_exceeded) return next.error();
      return true;
    }
    if (!*next) return true;
    failures = 0;
    if (!(*next)->id.empty()) after = (*next)->id;
    auto event = parse_json((*next)->data);
    if (!event || !event->is_object() || !wanted(*event, o.type)) continue;
    if (s.machine()) {
      s.print_line(*event);
    } else if (!s.print(event_line(*event, s.out_colors()))) {
      return false;
    }
  }
}

result<int> perform_events(session& s, const stream_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  // Of one sandbox the whole story; of the whole host what happens from now on, unless it is asked for.
  std::string after = o.after;
  if (after.empty() && (!o.id.empty() || !o.follow)) after = "0";
  int failures = 0;
  for (;;) {
    auto again = read_events(s, *client, o, after, failures);
    if (!again && (failures == 0 || again.error().code != errc::unavailable)) return again.error();
    if (again && (!*again || !o.follow)) return 0;
    if (++failures > most_reconnects) {
      return fail(errc::unavailable, "stream_lost", "the event stream broke off and could not be taken up again",
                  "Go on later with --after " + (after.empty() ? "0" : after) + ".");
    }
    ::poll(nullptr, 0, 1000);
  }
}

}  // namespace

void add_stream_commands(CLI::App& parent, const command_set& set) {
  auto l = std::make_shared<stream_options>();
  auto* logs = set.add(parent, "logs", help_of("sandbox.logs"),
                       "  caged logs cage_1a2b3c --tail 20\n  caged logs -f cage_1a2b3c",
                       [l](session& s) { return perform_logs(s, *l); });
  logs->add_option("ID", l->id, about("sandbox.get", "id"))->required();
  logs->add_flag("-f,--follow", l->follow, "Go on with what happens");
  logs->add_option("--tail", l->tail, "Only the last so many lines");

  auto e = std::make_shared<stream_options>();
  auto* events =
      set.add(parent, "events", help_of("event.follow"),
              "  caged events cage_1a2b3c\n  caged events -f --type command --json\n  caged events --after 1200 -f",
              [e](session& s) { return perform_events(s, *e); });
  events->add_option("ID", e->id, "Only of this sandbox");
  events->add_flag("-f,--follow", e->follow, "Go on with what happens");
  events->add_option("--type", e->type, "Only of this type: lifecycle command file_op network llm_call …");
  events->add_option("--after", e->after, "Only after this event id");
}

}  // namespace caged::cli
