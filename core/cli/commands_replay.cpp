// caged sessions, caged replay and caged audit: what an agent did, shown again, kept, and proved unchanged.
#include <core/cli/commands.hpp>
#include <core/cli/journal_pages.hpp>
#include <core/cli/recording.hpp>
#include <core/base/file.hpp>

#include <poll.h>
#include <unistd.h>

#include <cmath>
#include <iostream>

namespace caged::cli {
namespace {

struct replay_options {
  std::string session, format, output, sandbox;
  double speed = 1, from = 0, idle = 2;
  int page = 1;
};

// Sleeps for the recording's sake; false when nobody reads any more.
void wait_us(double us) {
  while (us > 0) {
    const int ms = static_cast<int>(std::min(us / 1000.0, 1000.0));
    ::poll(nullptr, 0, std::max(1, ms));
    us -= std::max(1, ms) * 1000.0;
  }
}

result<int> play(session& s, const recording& r, const replay_options& o) {
  const double start = o.from * 1e6;
  double now = start;
  for (const auto& f : r.frames) {
    const double at = static_cast<double>(f.at);
    if (at > now && o.speed > 0) wait_us((at - now) / o.speed);
    now = std::max(now, at);
    if (!s.print(f.text)) return 0;
  }
  s.print("\x1b[0m");
  return 0;
}

result<int> keep(session& s, const std::string& text, const std::string& file) {
  if (file.empty() || file == "-") {
    s.print(text);
    return 0;
  }
  if (auto done = base::write_file(file, text, 0600); !done) return done.error();
  s.note("written to " + file);
  return 0;
}

result<int> perform_replay(session& s, const replay_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  if (o.format == "jsonl") {
    std::string text;
    auto read = each_event(*client, o.session, {}, [&](json e) {
      text += e.dump() + "\n";
      if (!o.output.empty() && o.output != "-") return true;
      const bool heard = s.print(text);
      text.clear();
      return heard;
    });
    if (!read) return read.error();
    return text.empty() ? result<int>(0) : keep(s, text, o.output);
  }
  recording r;
  r.session = o.session;
  auto read = each_event(*client, o.session, {"lifecycle", "terminal", "command", "trust", "policy"}, [&r](json e) {
    r.add(e);
    return true;
  });
  if (!read) return read.error();
  skip_idle(r, static_cast<std::int64_t>(o.idle * 1e6));
  if (o.format == "asciicast") return keep(s, asciicast(r), o.output);
  if (o.format == "html") return keep(s, html_page(r), o.output);
  return play(s, r, o);
}

result<int> perform_verify(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  std::vector<std::string> ids;
  if (!id.empty()) {
    ids.push_back(id);
  } else {
    for (int page = 1;; ++page) {
      auto rows = client->call("GET", "/v1/sessions" + query({{"page", std::to_string(page)}, {"per_page", "100"}}));
      if (!rows) return rows.error();
      for (const json& r : (*rows)["data"]) ids.push_back(field(r, "id"));
      if (page >= (*rows)["pagination"].value("total_pages", 0)) break;
    }
  }
  bool intact = true;
  for (const auto& one : ids) {
    auto found = client->call("GET", "/v1/sessions/" + http::encode_component(one) + "/verify", nullptr, std::chrono::minutes(10));
    if (!found) return found.error();
    const bool holds = found->value("intact", false);
    intact = intact && holds;
    if (s.machine()) {
      s.print_line(*found);
    } else if (holds) {
      s.print(colored("intact  ", tint::green, s.out_colors()) + one + "  " + std::to_string(found->value("events", 0)) + " events" +
              (found->value("dropped", 0) > 0 ? " after " + std::to_string(found->value("dropped", 0)) + " dropped by retention" : "") + ", head " + field(*found, "head").substr(0, 16) + "\n");
    } else {
      const json b = (*found)["broken"];
      s.print(colored("BROKEN  ", tint::red, s.out_colors()) + one + "  at event " + std::to_string(b.value("sequence", 0)) + " (id " + std::to_string(b.value("event_id", 0)) + "): " + printable(field(b, "what")) + "\n");
    }
  }
  return intact ? 0 : 1;
}

result<int> perform_sessions(session& s, const replay_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = o.sandbox.empty() ? client->call("GET", "/v1/sessions" + query({{"page", std::to_string(o.page)}, {"per_page", "50"}}))
                                  : client->call("GET", sandbox_path(o.sandbox, "/sessions"));
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  table out({{"ID"}, {"SANDBOX"}, {"AGENT"}, {"STATUS"}, {"TRUST", column::side::right}, {"EVENTS", column::side::right}, {"LASTED"}, {"STARTED"}});
  for (const json& r : o.sandbox.empty() ? (*answer)["data"] : *answer)
    out.add({field(r, "id"), field(r, "sandbox_id"), field(r, "agent_type"), field(r, "status"), field(r, "trust_score"), field(r, "event_count"),
             human_duration(std::chrono::milliseconds(r.value("duration_ms", std::int64_t{0}))), field(r, "started_at")});
  s.print(out.text(s.out_colors()));
  return 0;
}

}  // namespace

void add_replay_commands(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<replay_options>();
  auto* sessions = set.add(root, "sessions", help_of("session.list"), "  caged sessions\n  caged sessions --sandbox cage-a1b2c3d4e5f6",
                           [o](session& s) { return perform_sessions(s, *o); });
  sessions->add_option("--sandbox", o->sandbox, "Only of this sandbox");
  sessions->add_option("--page", o->page, "Page, from 1")->check(CLI::PositiveNumber);
  auto* replay = set.add(root, "replay", help_of("session.replay", "Play what a session showed, or export it"),
                         "  caged replay sess-0123456789abcdef --speed 4\n  caged replay sess-0123456789abcdef --export html -o session.html",
                         [o](session& s) { return perform_replay(s, *o); });
  replay->add_option("SESSION", o->session, "Id of the session")->required();
  replay->add_option("--speed", o->speed, "How many times as fast; 0: at once")->check(CLI::NonNegativeNumber);
  replay->add_option("--from", o->from, "Seconds into the recording; what was before is shown at once")->check(CLI::NonNegativeNumber);
  replay->add_option("--idle", o->idle, "Longest pause in seconds; 0: as it was. 2 by default")->check(CLI::NonNegativeNumber);
  replay->add_option("--export", o->format, "asciicast (v2), jsonl (every event) or html (one self-contained page)")
      ->check(CLI::IsMember({"asciicast", "jsonl", "html"}));
  replay->add_option("-o,--output", o->output, "File to write; standard output by default");
  auto* audit = set.add_group(root, "audit", "Prove that the journal is what was written");
  set.add(*audit, "verify", help_of("session.verify", "Check hash chains and name the first broken link"),
          "  caged audit verify sess-0123456789abcdef\n  caged audit verify          (all sessions)\nExit code 0 when all hold, else 1.",
          [o](session& s) { return perform_verify(s, o->session); })
      ->add_option("SESSION", o->session, "Id of the session; all without it");
}

}  // namespace caged::cli
