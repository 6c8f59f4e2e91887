// caged keys, plugins, doctor, templates, capabilities: about the server itself.
#include <core/cli/commands.hpp>

namespace caged::cli {
namespace {

struct key_options {
  std::string name, id;
  std::string scope = "full";
};

// GET and show: a document, or a table by `draw`.
result<int> get_and_show(session& s, const std::string& path, std::string (*draw)(const json&, colors)) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("GET", path);
  if (!answer) return answer.error();
  if (s.machine() || draw == nullptr) {
    s.print_document(*answer);
  } else {
    s.print(draw(*answer, s.out_colors()));
  }
  return 0;
}

std::string key_table(const json& keys, colors use) {
  table out({{"ID"}, {"NAME"}, {"PREFIX"}, {"SCOPE"}, {"LAST USED"}, {"CREATED"}});
  for (const json& k : keys) {
    out.add({field(k, "id"), field(k, "name"), field(k, "prefix"), field(k, "scope"), field(k, "last_used"),
             field(k, "created_at")});
  }
  return out.text(use);
}

std::string plugin_table(const json& plugins, colors use) {
  table out({{"NAME"}, {"KIND"}, {"VERSION"}, {"STATE"}, {"OFFERS"}, {"NEEDS"}, {"PATH"}});
  for (const json& p : plugins) {
    const std::string state = field(p, "state");
    const tint color = state == "serving" || state == "open" ? tint::green
                       : state == "refused"                  ? tint::red
                                                             : tint::unset;
    out.add({field(p, "name"), field(p, "kind"), field(p, "version"), state, field(p, "offers"), field(p, "needs"),
             field(p, "path")},
            {tint::unset, tint::unset, tint::unset, color});
  }
  return out.text(use);
}

std::string template_table(const json& templates, colors use) {
  table out({{"NAME"}, {"BACKENDS"}, {"DESCRIPTION"}});
  for (const json& t : templates) {
    std::string backends = field(t, "backends");
    if (backends == "-") backends = field(t, "backend");
    out.add({t.is_string() ? t.get<std::string>() : field(t, "name"), backends, field(t, "description")});
  }
  return out.text(use);
}

// One row for each wall; what is missing says what was found and how to get it.
std::string doctor_text(const json& report, colors use) {
  std::string out;
  for (const json& backend : report.value("backends", json::array())) {
    out += colored("backend " + printable(field(backend, "name")), tint::bold, use) + "\n";
    for (const json& p : backend.value("probes", json::array())) {
      const bool available = p.contains("available") && p["available"] == true;
      const bool required = !p.contains("required") || p["required"] == true;
      const std::string mark = available  ? colored("ok      ", tint::green, use)
                               : required ? colored("MISSING ", tint::red, use)
                                          : colored("missing ", tint::yellow, use);
      out += "  " + mark + printable(field(p, "name"));
      if (field(p, "found") != "-") out += ": " + printable(field(p, "found"));
      out += "\n";
      if (available) continue;
      if (field(p, "needs") != "-") out += "            needs: " + printable(field(p, "needs")) + "\n";
      if (field(p, "remedy") != "-") out += "            to do: " + printable(field(p, "remedy")) + "\n";
    }
  }
  return out;
}

result<int> perform_doctor(session& s) {
  auto client = s.connect();
  if (!client) return client.error();
  auto report = client->call("GET", "/v1/doctor", nullptr, std::chrono::minutes(1));
  if (!report) return report.error();
  if (s.machine()) {
    s.print_document(*report);
  } else {
    s.print(doctor_text(*report, s.out_colors()));
  }
  // Good for scripts: 0 only when some backend has everything it must have.
  for (const json& backend : report->value("backends", json::array())) {
    bool whole = true;
    for (const json& p : backend.value("probes", json::array())) {
      const bool required = !p.contains("required") || p["required"] == true;
      if (required && (!p.contains("available") || p["available"] != true)) whole = false;
    }
    if (whole) return 0;
  }
  return 1;
}

result<int> create_key(session& s, const key_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("POST", "/v1/account/keys", {{"name", o.name}, {"scope", o.scope}});
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
  } else {
    s.print(field(*answer, "key") + "\n");
    s.note("this key is shown once; keep it");
  }
  return 0;
}

result<int> revoke_key(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("DELETE", "/v1/account/keys/" + http::encode_component(id));
  if (!answer) return answer.error();
  if (s.machine()) s.print_document({{"id", id}, {"revoked", true}});
  return 0;
}

void add_keys(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<key_options>();
  auto* keys = set.add_group(root, "keys", "Make, list and revoke the server's keys");
  auto* list = set.add(*keys, "list", help_of("key.list"), "  caged keys list",
                       [](session& s) { return get_and_show(s, "/v1/account/keys", key_table); });
  list->alias("ls");
  auto* create = set.add(*keys, "create", help_of("key.create"), "  caged keys create ci --scope sandbox",
                         [o](session& s) { return create_key(s, *o); });
  create->add_option("NAME", o->name, "A name for people")->required();
  create->add_option("--scope", o->scope, "read: look; sandbox: also act in sandboxes; full: everything (default)")
      ->check(CLI::IsMember({"read", "sandbox", "full", "read_only"}));
  auto* revoke = set.add(*keys, "revoke", help_of("key.revoke"), "  caged keys revoke key_1a2b",
                         [o](session& s) { return revoke_key(s, o->id); });
  revoke->alias("rm");
  revoke->add_option("KEY_ID", o->id, about("key.revoke", "key_id"))->required();
}

}  // namespace

void add_host_commands(CLI::App& root, const command_set& set) {
  add_keys(root, set);
  auto* plugins = root.add_subcommand("plugins", "List the server's plugins and their configuration schemas");
  plugins->require_subcommand(0, 1);
  set.add_global_flags(*plugins);
  set.add(*plugins, "list", help_of("plugin.list"), "  caged plugins list --json",
          [](session& s) { return get_and_show(s, "/v1/plugins", plugin_table); })
      ->alias("ls");
  auto name = std::make_shared<std::string>();
  set.add(*plugins, "schema", help_of("plugin.schema"), "  caged plugins schema vmm.jail",
          [name](session& s) {
            return get_and_show(s, "/v1/plugins/" + http::encode_component(*name) + "/schema", nullptr);
          })
      ->add_option("NAME", *name, "The plugin, as 'caged plugins' names it")
      ->required();
  chosen_command& chosen = set.chosen;
  // Bare `caged plugins` is `caged plugins list`.
  plugins->callback([plugins, &chosen] {
    if (!plugins->get_subcommands().empty()) return;
    chosen.act = [](session& s) { return get_and_show(s, "/v1/plugins", plugin_table); };
  });
  set.add(root, "doctor", help_of("host.doctor"),
          "  caged doctor\nExit code 0 when some backend has all it needs, else 1.", perform_doctor);
  set.add(root, "templates", help_of("template.list"), "  caged templates",
          [](session& s) { return get_and_show(s, "/v1/templates", template_table); });
  set.add(root, "capabilities", help_of("host.capabilities"), "  caged capabilities --format yaml",
          [](session& s) { return get_and_show(s, "/v1/capabilities", nullptr); });
}

}  // namespace caged::cli
