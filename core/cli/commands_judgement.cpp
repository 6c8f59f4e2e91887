// caged trust and caged approvals: what the host thinks of an agent, and what it asks a human.
#include <core/cli/commands.hpp>

#include <poll.h>

#include <set>

namespace caged::cli {
namespace {

struct judgement_options {
  std::string id, state, note;
  bool watch = false;
};

tint score_tint(int score) { return score >= 70 ? tint::green : score >= 50 ? tint::yellow : tint::red; }

void show_session(session& s, const json& one) {
  const int score = one.value("score", 100);
  s.print(field(one, "session_id") + "  " + colored(std::to_string(score), score_tint(score), s.out_colors()) + "  " +
          field(one, "band") + "\n");
  if (one.value("deductions", json::array()).empty()) return;
  table out({{"POINTS", column::side::right}, {"RULE"}, {"EVENT"}, {"WHY"}, {"WHAT TO DO"}});
  for (const json& d : one["deductions"])
    out.add({"-" + std::to_string(static_cast<int>(d.value("points", 0.0))), field(d, "rule"),
             field(d, "event_type") + " #" + std::to_string(d.value("sequence", 0)), field(d, "reason"), field(d, "advice")});
  s.print(out.text(s.out_colors()));
}

result<int> perform_trust(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  const bool one = id.starts_with("sess-");
  auto answer = client->call("GET", one ? "/v1/sessions/" + http::encode_component(id) + "/trust"
                                        : "/v1/trust/sandboxes/" + http::encode_component(id));
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  if (one) {
    show_session(s, *answer);
    return 0;
  }
  int lowest = 100;
  for (const json& row : *answer) lowest = std::min(lowest, row.value("score", 100));
  s.print("sandbox " + printable(id) + "  " + colored(std::to_string(lowest), score_tint(lowest), s.out_colors()) + "\n");
  for (const json& row : *answer) show_session(s, row);
  return 0;
}

// What was asked about, in one line.
std::string asked_about(const json& row) {
  const json data = row.value("data", json::object());
  for (const char* key : {"command", "path", "host", "model"})
    if (data.contains(key) && data[key].is_string()) return data[key].get<std::string>();
  return data.contains("argv") ? data["argv"].dump() : data.dump();
}

std::string approval_table(const json& rows, colors use) {
  table out({{"ID"}, {"STATE"}, {"GATE"}, {"WHAT"}, {"WHY"}, {"SANDBOX"}, {"UNTIL"}, {"BY"}});
  for (const json& r : rows) {
    const std::string state = field(r, "state");
    out.add({field(r, "id"), state, field(r, "gate"), asked_about(r).substr(0, 60), field(r, "reason"), field(r, "sandbox_id"),
             field(r, "expires_at"), field(r, "decided_by")},
            {tint::unset, state == "pending" ? tint::yellow : state == "approved" ? tint::green : tint::red});
  }
  return out.text(use);
}

result<int> perform_approvals(session& s, const judgement_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  std::set<std::string> told;
  while (true) {
    auto rows = client->call("GET", "/v1/approvals" + query({{"state", o.watch ? "pending" : o.state}}));
    if (!rows) return rows.error();
    if (!o.watch) {
      if (s.machine())
        s.print_document(*rows);
      else
        s.print(approval_table(*rows, s.out_colors()));
      return 0;
    }
    for (const json& r : *rows) {
      if (!told.insert(field(r, "id")).second) continue;
      if (s.machine()) {
        s.print_line(r);
      } else if (!s.print(field(r, "id") + "  " + field(r, "gate") + ": " + printable(asked_about(r)) + "  (" +
                          printable(field(r, "reason")) + ")\n")) {
        return 0;
      }
    }
    ::poll(nullptr, 0, 500);
  }
}

result<int> decide(session& s, const judgement_options& o, const char* verb) {
  auto client = s.connect();
  if (!client) return client.error();
  json body = json::object();
  if (!o.note.empty()) body["note"] = o.note;
  auto row = client->call("POST", "/v1/approvals/" + http::encode_component(o.id) + "/" + verb, body);
  if (!row) return row.error();
  if (s.machine())
    s.print_document(*row);
  else
    s.print(field(*row, "id") + " " + field(*row, "state") + "\n");
  return 0;
}

}  // namespace

void add_judgement_commands(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<judgement_options>();
  set.add(root, "trust", help_of("session.trust", "Trust score of a session or a sandbox, with every deduction"),
          "  caged trust cage-a1b2c3d4e5f6\n  caged trust sess-0123456789abcdef --json",
          [o](session& s) { return perform_trust(s, o->id); })
      ->add_option("ID", o->id, "A sandbox (cage-…) or a session (sess-…)")
      ->required();
  auto* approvals = root.add_subcommand("approvals", help_of("approval.list").summary);
  approvals->require_subcommand(0, 1);
  set.add_global_flags(*approvals);
  approvals->add_option("--state", o->state, "pending, approved, denied or expired")
      ->check(CLI::IsMember({"pending", "approved", "denied", "expired"}));
  approvals->add_flag("--watch", o->watch, "Tell each question as it comes");
  chosen_command& chosen = set.chosen;
  approvals->callback([approvals, &chosen, o] {
    if (approvals->get_subcommands().empty()) chosen.act = [o](session& s) { return perform_approvals(s, *o); };
  });
  for (const char* verb : {"approve", "deny"}) {
    auto* c = set.add(*approvals, verb, help_of(std::string("approval.") + verb),
                      std::string("  caged approvals ") + verb + " appr-7f3a9c21b0de4455",
                      [o, verb](session& s) { return decide(s, *o, verb); });
    c->add_option("ID", o->id, "Id of the question")->required();
    c->add_option("--note", o->note, "A word about why");
  }
}

}  // namespace caged::cli
