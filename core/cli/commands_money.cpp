// caged cost and caged secrets.
#include <core/cli/commands.hpp>
#include <core/cli/operation_help.hpp>

#include <unistd.h>

namespace caged::cli {
namespace {

double number_of(const json& object, const char* key) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : 0.0;
}

std::string count_of(const json& object, const char* key) { return field(object, key); }

std::string cost_text(const json& usage, colors use) {
  table boxes({{"SANDBOX"},
               {"NAME"},
               {"STATUS"},
               {"COMPUTE", column::side::right},
               {"EGRESS", column::side::right},
               {"MODELS", column::side::right},
               {"TOTAL", column::side::right},
               {"BUDGET", column::side::right}});
  for (const json& b : usage.value("sandboxes", json::array())) {
    const std::string status = field(b, "status");
    boxes.add({field(b, "id"), field(b, "name"), status, human_dollars(number_of(b, "compute_cost")),
               human_dollars(number_of(b, "egress_cost")),
               human_dollars(number_of(b, "llm_cost")), human_dollars(number_of(b, "total_cost")),
               b.contains("budget") && b["budget"].is_number() ? human_dollars(b["budget"].get<double>()) : "-"},
              {tint::unset, tint::unset, status_tint(status)});
  }
  table models({{"MODEL"},
                {"CALLS", column::side::right},
                {"INPUT", column::side::right},
                {"CACHED", column::side::right},
                {"OUTPUT", column::side::right},
                {"COST", column::side::right}});
  for (const json& m : usage.value("models", json::array()))
    models.add({field(m, "model"), count_of(m, "calls"), count_of(m, "input"), count_of(m, "cache_read"),
                count_of(m, "output"), human_dollars(number_of(m, "llm_cost"))});
  std::string out = boxes.text(use);
  if (!models.empty()) out += "\n" + models.text(use);
  out += "\ntotal " + human_dollars(number_of(usage, "total_cost")) + " (computing " +
         human_dollars(number_of(usage, "compute_cost")) + ", models " + human_dollars(number_of(usage, "llm_cost")) +
         ")\n";
  return out;
}

struct money_options {
  std::string id, since, until, name, value;
  std::vector<std::string> hosts;
};

result<int> show_cost(session& s, const money_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto usage =
      client->call("GET", "/v1/billing/usage" + query({{"sandbox_id", o.id}, {"since", o.since}, {"until", o.until}}));
  if (!usage) return usage.error();
  if (s.machine())
    s.print_document(*usage);
  else
    s.print(cost_text(*usage, s.out_colors()));
  return 0;
}

// From standard input, so that it stands in no history and no process list.
result<std::string> read_value() {
  std::string value;
  char piece[4096];
  while (true) {
    const auto n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read the secret from standard input");
    if (n == 0) break;
    value.append(piece, static_cast<std::size_t>(n));
    if (value.size() > 65536 + 2) break;  // the server says that it is too long
  }
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  return value;
}

result<int> set_secret(session& s, const money_options& o) {
  std::string value = o.value;
  if (value.empty() || value == "-") {
    if (isatty(STDIN_FILENO) == 1) s.note("type the value, then Ctrl-D");
    auto read = read_value();
    if (!read) return read.error();
    value = std::move(*read);
  }
  auto client = s.connect();
  if (!client) return client.error();
  json body{{"value", value}};
  if (!o.hosts.empty()) body["hosts"] = o.hosts;
  auto answer = client->call("PUT", "/v1/secrets/" + http::encode_component(o.name), body);
  if (!answer) return answer.error();
  if (s.machine()) s.print_document(*answer);
  return 0;
}

result<int> list_secrets(session& s) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("GET", "/v1/secrets");
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
    return 0;
  }
  table out({{"NAME"}, {"HOSTS"}, {"UPDATED"}});
  for (const json& one : *answer) {
    std::string hosts;
    for (const json& host : one.value("hosts", json::array()))
      hosts += (hosts.empty() ? "" : ", ") + host.get<std::string>();
    out.add({field(one, "name"), hosts.empty() ? "-" : hosts, field(one, "updated_at")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> remove_secret(session& s, const std::string& name) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("DELETE", "/v1/secrets/" + http::encode_component(name));
  if (!answer) return answer.error();
  if (s.machine()) s.print_document({{"name", name}, {"removed", true}});
  return 0;
}

}  // namespace

void add_money_commands(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<money_options>();
  auto* cost =
      set.add(root, "cost", help_of("billing.usage"), "  caged cost\n  caged cost cage-a1b2c3d4e5f6 --since 2026-01-01",
              [o](session& s) { return show_cost(s, *o); });
  cost->add_option("ID", o->id, about("billing.usage", "sandbox_id"));
  cost->add_option("--since", o->since, about("billing.usage", "since"));
  cost->add_option("--until", o->until, about("billing.usage", "until"));

  auto* secrets = set.add_group(root, "secrets", "Keep secrets for sandboxes");
  auto* put = set.add(*secrets, "set", help_of("secret.set"), "  caged secrets set DEPLOY_KEY < key.txt",
                      [o](session& s) { return set_secret(s, *o); });
  put->add_option("NAME", o->name, about("secret.set", "name"))->required();
  put->add_option("VALUE", o->value, "Its value; absent or -: standard input (an argument is visible to other users)");
  put->add_option("--host", o->hosts, about("secret.set", "hosts"));
  auto* list = set.add(*secrets, "list", help_of("secret.list"), "  caged secrets list", list_secrets);
  list->alias("ls");
  auto* remove = set.add(*secrets, "rm", help_of("secret.remove"), "  caged secrets rm DEPLOY_KEY",
                         [o](session& s) { return remove_secret(s, o->name); });
  remove->alias("remove");
  remove->add_option("NAME", o->name, about("secret.remove", "name"))->required();
}

}  // namespace caged::cli
