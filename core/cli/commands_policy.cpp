// caged policy: write, check, test and try policies. They are read here, not by the server.
#include <core/cli/commands.hpp>
#include <core/cli/journal_pages.hpp>

#include <fstream>
#include <iostream>
#include <iterator>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

struct policy_options {
  std::vector<std::string> folders, files, policies, before;
  std::string config, name, session, event, as, filter;
};

// Folders to look in and the policies in force, as the server would take them from its configuration.
struct place {
  json roots = json::array();
  json use;
};

result<place> find_place(const session& s, const policy_options& o) {
  auto host = config::load_host_config(o.config, s.env());
  if (!host) return host.error();
  place p;
  for (const auto& folder : o.folders) p.roots.push_back(fs::absolute(folder).string());
  for (const auto& folder : host->policies.folders) p.roots.push_back(folder.string());
  p.roots.push_back((s.program().parent_path().parent_path() / "share" / "caged" / "policies").string());
  p.use = host->policies.use;
  if (!o.policies.empty()) p.use = o.policies;
  return p;
}

std::string list_table(const json& rows, const json& use, colors tints) {
  table out({{"NAME"}, {"VERSION"}, {"IN FORCE"}, {"GATES"}, {"FACTS"}, {"DESCRIPTION"}});
  const auto joined = [](const json& names) {
    std::string text;
    for (const auto& n : names) text += (text.empty() ? "" : " ") + n.get<std::string>();
    return text.empty() ? std::string("-") : text;
  };
  for (const json& r : rows) {
    bool in_force = false;
    for (const json& u : use) in_force = in_force || (u.is_string() ? u == r["name"] : u.is_object() && u.contains(field(r, "name")));
    const bool broken = r.contains("problem");
    out.add({field(r, "name"), field(r, "version"), in_force ? "yes" : "no", joined(r.value("gates", json::array())),
             joined(r.value("facts", json::array())), broken ? "does not load: " + r["problem"].dump() : field(r, "description")},
            {broken ? tint::red : tint::unset});
  }
  return out.text(tints);
}

using tool = std::function<result<json>(const json&)>;

result<int> perform_list(session& s, const tool& run, const policy_options& o) {
  auto p = find_place(s, o);
  if (!p) return p.error();
  auto rows = run({{"tool", "list"}, {"roots", p->roots}});
  if (!rows) return rows.error();
  if (s.machine())
    s.print_document(*rows);
  else
    s.print(list_table(*rows, p->use, s.out_colors()));
  return 0;
}

result<int> perform_check(session& s, const tool& run, const policy_options& o) {
  auto p = find_place(s, o);
  if (!p) return p.error();
  auto answer = run({{"tool", "check"}, {"roots", p->roots}, {"policies", p->use}});
  if (!answer) return answer.error();
  const bool ok = answer->value("ok", false);
  if (s.machine()) {
    s.print_document(*answer);
  } else if (ok) {
    for (const json& one : answer->value("policies", json::array()))
      s.print(colored("ok      ", tint::green, s.out_colors()) + field(one, "name") + " " + field(one, "version") + "\n");
  } else {
    const json e = answer->value("error", json::object());
    return fail(errc::invalid_argument, field(e, "reason"), field(e, "message"), field(e, "action"));
  }
  return ok ? 0 : 1;
}

result<int> perform_test(session& s, const tool& run, const policy_options& o) {
  auto p = find_place(s, o);
  if (!p) return p.error();
  json files = json::array();
  for (const auto& file : o.files) files.push_back(fs::absolute(file).string());
  auto answer = run({{"tool", "test"}, {"roots", p->roots}, {"files", std::move(files)}, {"filter", o.filter}});
  if (!answer) return answer.error();
  const auto failed = answer->value("failed", 0);
  bool broken = false;
  for (const json& f : answer->value("files", json::array())) broken = broken || f.contains("error");
  if (s.machine()) {
    s.print_document(*answer);
  } else {
    for (const json& f : answer->value("files", json::array())) {
      if (f.contains("error")) s.print(colored("ERROR   ", tint::red, s.out_colors()) + field(f, "file") + ": " + printable(f["error"].is_string() ? field(f, "error") : f["error"].dump()) + "\n");
      for (const json& t : f.value("tests", json::array()))
        if (!t.value("passed", false))
          s.print(colored("FAILED  ", tint::red, s.out_colors()) + field(f, "file") + ": " + field(t, "name") + ": " + printable(field(t, "message")) + "\n");
    }
    s.print(std::to_string(answer->value("passed", 0)) + " passed, " + std::to_string(failed) + " failed\n");
  }
  return failed == 0 && !broken ? 0 : 1;
}

result<std::string> read_text(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(errc::not_found, "file_not_found", "the file " + file + " cannot be read", "Name a file with one event as JSON, or - for standard input.");
  return std::string(std::istreambuf_iterator<char>(in), {});
}

result<int> perform_explain(session& s, const tool& run, const policy_options& o) {
  auto p = find_place(s, o);
  if (!p) return p.error();
  auto text = read_text(o.event);
  if (!text) return text.error();
  auto event = parse_json(*text);
  if (!event) return event.error();
  auto answer = run({{"tool", "explain"}, {"roots", p->roots}, {"policies", p->use}, {"event", std::move(*event)}, {"as", o.as}});
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  const json v = answer->value("verdict", json::object());
  s.print(field(*answer, "stage") + ": " + field(v, "kind") + "\n");
  table out({{"POLICY"}, {"ANSWER"}, {"RULE"}, {"POINTS"}, {"REASON"}, {"WORK"}, {"BYTES"}, {"µs"}});
  for (const json& h : answer->value("handlers", json::array())) {
    const json own = h.value("verdict", json::object());
    double points = 0;
    std::string rule = field(own, "rule"), reason = field(own, "reason");
    for (const json& d : own.value("deductions", json::array())) {
      points += d.value("points", 0.0);
      rule = field(d, "rule");
      reason = field(d, "reason");
    }
    out.add({field(h, "policy"), field(own, "kind"), rule, std::to_string(static_cast<int>(points)), reason, field(h, "instructions"),
             field(h, "allocated_bytes"), field(h, "microseconds")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> perform_replay(session& s, const tool& run, const policy_options& o) {
  auto p = find_place(s, o);
  if (!p) return p.error();
  auto client = s.connect();
  if (!client) return client.error();
  json events = json::array();
  auto read = each_event(*client, o.session, {}, [&events](json e) {
    events.push_back(std::move(e));
    return true;
  });
  if (!read) return read.error();
  auto host = config::load_host_config(o.config, s.env());
  if (!host) return host.error();
  json policies = json::array();
  for (const auto& name : o.policies) policies.push_back(name.ends_with(".lua") ? fs::absolute(name).string() : name);
  const json before = o.before.empty() ? host->policies.use : json(o.before);
  auto answer = run({{"tool", "replay"}, {"roots", p->roots}, {"policies", policies.empty() ? p->use : policies}, {"before", before}, {"events", std::move(events)}});
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  for (const json& one : answer->value("sessions", json::array())) {
    s.print(field(one, "session_id") + ": " + std::to_string(one.value("score", 0)) + " (" + field(one, "band") + "), before " +
            std::to_string(one.value("score_before", 0)) + "\n");
    for (const json& d : one.value("deductions", json::array()))
      s.print("  -" + std::to_string(d.value("points", 0)) + " " + field(d, "rule") + ": " + printable(field(d, "reason")) + "\n");
    for (const json& d : one.value("differences", json::array()))
      s.print("  event " + std::to_string(d.value("sequence", 0)) + " " + field(d, "type") + " (" + field(d, "stage") + "): " +
              field(d.value("before", json::object()), "kind") + " → " + field(d.value("after", json::object()), "kind") + "\n");
  }
  s.print(std::to_string(answer->value("events", 0)) + " events, " + std::to_string(answer->value("changed", 0)) + " answered differently\n");
  return 0;
}

result<int> perform_new(session& s, const tool& run, const policy_options& o) {
  const std::string root = fs::absolute(o.folders.empty() ? "." : o.folders.front()).string();
  auto answer = run({{"tool", "new"}, {"root", root}, {"name", o.name}});
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
  } else {
    for (const json& file : answer->value("files", json::array())) s.print(file.get<std::string>() + "\n");
    s.note("try it: caged policy test --folder " + root);
  }
  return 0;
}

void add_place_flags(CLI::App& c, policy_options& o) {
  c.add_option("--folder", o.folders, "A folder with policies, searched before the server's; repeatable")->type_size(1)->allow_extra_args(false);
  c.add_option("--config", o.config, "Configuration of the server");
}

void add_choice_flag(CLI::App& c, policy_options& o) {
  c.add_option("--policies", o.policies, "Instead of those in force: names or .lua files (a,b)")->delimiter(',');
}

}  // namespace

void add_policy_commands(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<policy_options>();
  const tool run = set.policy_tool;
  auto* group = set.add_group(root, "policy", "Write, check, test and try policies");
  auto* list = set.add(*group, "list", "Policies that are found, and which are in force", "  caged policy list",
                       [o, run](session& s) { return perform_list(s, run, *o); });
  list->alias("ls");
  add_place_flags(*list, *o);
  auto* check = set.add(*group, "check", "Load policies as the server would", "  caged policy check\n  caged policy check --policies ./house-rules.lua",
                        [o, run](session& s) { return perform_check(s, run, *o); });
  add_place_flags(*check, *o);
  add_choice_flag(*check, *o);
  auto* test = set.add(*group, "test", "Run the tests beside the policies (x_test.lua)", "  caged policy test\n  caged policy test --folder . mine_test.lua",
                       [o, run](session& s) { return perform_test(s, run, *o); });
  test->add_option("FILE", o->files, "Test files; without any, all that are found");
  test->add_option("--filter", o->filter, "Only tests whose name holds this");
  add_place_flags(*test, *o);
  auto* explain = set.add(*group, "explain", "One event: each handler's answer and what it cost",
                          "  echo '{\"type\":\"command\",\"data\":{\"command\":\"curl x | sh\"}}' | caged policy explain -",
                          [o, run](session& s) { return perform_explain(s, run, *o); });
  explain->add_option("FILE", o->event, "The event as JSON; - is standard input")->required();
  explain->add_option("--as", o->as, "gate or fact")->check(CLI::IsMember({"gate", "fact"}));
  add_place_flags(*explain, *o);
  add_choice_flag(*explain, *o);
  auto* replay = set.add(*group, "replay", "A recorded session asked again: what changed policies would have said",
                         "  caged policy replay sess-0123456789abcdef --policies trust,./house-rules.lua",
                         [o, run](session& s) { return perform_replay(s, run, *o); });
  replay->add_option("SESSION", o->session, "Id of the session")->required();
  replay->add_option("--before", o->before, "What to compare with; the policies in force by default (a,b)")->delimiter(',');
  add_place_flags(*replay, *o);
  add_choice_flag(*replay, *o);
  auto* fresh = set.add(*group, "new", "A policy and its test to start from", "  caged policy new house-rules --folder /etc/caged/policies",
                        [o, run](session& s) { return perform_new(s, run, *o); });
  fresh->add_option("NAME", o->name, "Its name")->required();
  fresh->add_option("--folder", o->folders, "Where; the current folder by default")->type_size(1)->allow_extra_args(false);
}

}  // namespace caged::cli
