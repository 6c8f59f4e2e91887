// caged network: what a sandbox may reach, what it reached, why not.
#include <core/cli/commands.hpp>
#include <core/cli/terminal.hpp>

namespace caged::cli {
namespace {

struct network_options {
  std::string id, mode, host;
  std::vector<std::string> allow;
  std::string rate, bytes;
  bool denied = false;
  int limit = 200;
};

std::string joined(const json& list) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + one.get<std::string>();
  return text.empty() ? "-" : text;
}

result<int> show(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("GET", sandbox_path(id, "/network"));
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  table out({{"NETWORK"}, {""}});
  out.add({"mode", field(*answer, "network_mode")});
  out.add({"allowed", joined((*answer)["allowlist"])});
  if (field(*answer, "network_mode") == "learn") out.add({"proposed", joined((*answer)["proposed"])});
  if (const auto counters = answer->find("counters"); counters != answer->end() && counters->is_object()) {
    out.add({"connections", field(*counters, "connections") + " (" + field(*counters, "open_connections") + " open, " +
                                field(*counters, "denied") + " denied)"});
    out.add({"received", human_bytes(counters->value("bytes_in", std::uint64_t{0}))});
    out.add({"sent", human_bytes(counters->value("bytes_out", std::uint64_t{0}))});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> set_network(session& s, const network_options& o) {
  json body = json::object();
  if (!o.mode.empty()) body["network_mode"] = o.mode;
  if (!o.allow.empty()) body["allowlist"] = o.allow;
  if (o.mode.empty() && !o.allow.empty()) body["network_mode"] = "allowlist";
  for (const auto& [key, text] : {std::pair{"network_rate", o.rate}, std::pair{"network_bytes", o.bytes}}) {
    if (text.empty()) continue;
    if (text.find_first_not_of("0123456789") != std::string::npos || text.size() > 15)
      return fail(errc::invalid_argument, "bad_number", "\"" + text + "\" is no number of bytes", "Give digits only.");
    body[key] = std::stoll(text);
  }
  if (body.empty())
    return fail(errc::invalid_argument, "nothing_to_set", "nothing to change was given",
                "Give --mode, --allow, --rate or --bytes.");
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("PATCH", sandbox_path(o.id), std::move(body));
  if (!answer) return answer.error();
  if (s.machine()) s.print_document(*answer);
  return 0;
}

// "example.org:443", "[2001:db8::1]:443".
std::string destination(const json& row) {
  std::string host = field(row, "host");
  if (host.empty() || host == "-") host = field(row, "address");
  return host + ":" + field(row, "port");
}

result<int> show_log(session& s, const network_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto rows = client->call(
      "GET", sandbox_path(o.id, "/network/log?limit=" + std::to_string(o.limit) + (o.denied ? "&verdict=deny" : "")));
  if (!rows) return rows.error();
  if (s.machine()) {
    s.print_document(*rows);
    return 0;
  }
  table out({{"TIME"},
             {"VERDICT"},
             {"WHAT"},
             {"DESTINATION"},
             {"RULE"},
             {"IN", column::side::right},
             {"OUT", column::side::right}});
  for (const json& row : *rows) {
    const bool over = row.contains("bytes_in");
    out.add({field(row, "time"), field(row, "verdict"), field(row, "operation") + " " + field(row, "protocol"),
             destination(row), field(row, "rule"), over ? human_bytes(row.value("bytes_in", std::uint64_t{0})) : "-",
             over ? human_bytes(row.value("bytes_out", std::uint64_t{0})) : "-"});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> explain(session& s, const network_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto rows = client->call(
      "GET", sandbox_path(o.id, "/network/why" + (o.host.empty() ? "" : "?host=" + http::encode_component(o.host))));
  if (!rows) return rows.error();
  if (s.machine()) {
    s.print_document(*rows);
    return 0;
  }
  if (rows->empty()) s.print("Nothing was refused.\n");
  for (const json& row : *rows) {
    s.print(printable(destination(row) + "  refused " + field(row, "count") + " times, last " + field(row, "last")) +
            "\n");
    s.print("  rule    " + printable(field(row, "rule")) + "\n");
    s.print("  reason  " + printable(field(row, "reason")) + "\n");
    s.print("  do      " + printable(field(row, "advice")) + "\n");
  }
  return 0;
}

}  // namespace

void add_network_commands(CLI::App& parent, const command_set& set) {
  auto o = std::make_shared<network_options>();
  auto* group =
      set.add_group(parent, "network", "Show and change what a sandbox may reach, and why something was refused");
  auto* get = set.add(*group, "get", help_of("network.get"), "  caged network get cage-1a2b3c",
                      [o](session& s) { return show(s, o->id); });
  get->add_option("ID", o->id, about("sandbox.get", "id"))->required();

  auto* change = set.add(*group, "set", help_of("sandbox.update", "Change what a sandbox may reach, at once"),
                         "  caged network set cage-1a2b3c --allow example.org --allow '*.example.net'\n"
                         "  caged network set cage-1a2b3c --mode none",
                         [o](session& s) { return set_network(s, *o); });
  change->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  change->add_option("--mode,--network", o->mode, "full, allowlist, learn or none");
  change->add_option("--allow,--allowlist", o->allow, "Hosts it may reach from now on; replaces the list")
      ->delimiter(',');
  change->add_option("--rate", o->rate, "Most bytes a second; 0 for no limit");
  change->add_option("--bytes", o->bytes, "Most bytes in all; 0 for no limit");

  auto* log = set.add(*group, "log", help_of("network.log"), "  caged network log cage-1a2b3c --denied",
                      [o](session& s) { return show_log(s, *o); });
  log->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  log->add_flag("--denied", o->denied, "Only what was refused");
  log->add_option("--limit", o->limit, about("network.log", "limit"));

  auto* why = set.add(*group, "why", help_of("network.why"),
                      "  caged network why cage-1a2b3c\n  caged network why cage-1a2b3c example.net",
                      [o](session& s) { return explain(s, *o); });
  why->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  why->add_option("HOST", o->host, about("network.why", "host"));
}

}  // namespace caged::cli
