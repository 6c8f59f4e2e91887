// caged snapshot and caged fork.
#include <core/cli/commands.hpp>
#include <core/cli/terminal.hpp>

namespace caged::cli {
namespace {

struct snapshot_options {
  std::string id, name, description, to;
};

// One call whose answer is shown as a document, or as the value of one field for people.
result<int> call_and_show(session& s, const std::string& method, const std::string& path, json body, const char* shown,
                          const std::string& doing) {
  auto client = s.connect();
  if (!client) return client.error();
  std::optional<progress> waiting;
  if (!s.flags().quiet) waiting.emplace(doing);
  auto answer = client->call(method, path, std::move(body), std::chrono::minutes(10));
  waiting.reset();
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
  } else if (field(*answer, shown) != "-") {
    s.print(printable(field(*answer, shown)) + "\n");
  }
  return 0;
}

result<int> list_snapshots(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto snapshots = client->call("GET", sandbox_path(id, "/snapshots"));
  if (!snapshots) return snapshots.error();
  if (s.machine()) {
    s.print_document(*snapshots);
    return 0;
  }
  table out({{"ID"}, {"NAME"}, {"STATUS"}, {"SIZE", column::side::right}, {"CREATED"}});
  for (const json& one : *snapshots) {
    const bool sized = one.contains("size_bytes") && one["size_bytes"].is_number_unsigned();
    out.add({field(one, "id"), field(one, "name"), field(one, "status"),
             sized ? human_bytes(one["size_bytes"].get<std::uint64_t>()) : "-", field(one, "created_at")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

std::string snapshot_path(const std::string& id, std::string_view rest = {}) {
  return "/v1/snapshots/" + http::encode_component(id) + std::string(rest);
}

}  // namespace

void add_snapshot_commands(CLI::App& parent, const command_set& set) {
  auto o = std::make_shared<snapshot_options>();
  auto* group = set.add_group(parent, "snapshot", "Keep, list, bring back and remove states of sandboxes");
  auto* create = set.add(*group, "create", help_of("snapshot.create"),
                         "  caged snapshot create cage_1a2b3c --name clean", [o](session& s) {
                           json body = json::object();
                           if (!o->name.empty()) body["name"] = o->name;
                           if (!o->description.empty()) body["description"] = o->description;
                           return call_and_show(s, "POST", sandbox_path(o->id, "/snapshots"), std::move(body), "id",
                                                "keeping the state of " + o->id);
                         });
  create->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  create->add_option("--name", o->name, "A name for people");
  create->add_option("--description", o->description, "What it is for");

  auto* list = set.add(*group, "list", help_of("snapshot.list"), "  caged snapshot list cage_1a2b3c",
                       [o](session& s) { return list_snapshots(s, o->id); });
  list->alias("ls");
  list->add_option("ID", o->id, about("sandbox.get", "id"))->required();

  auto* restore = set.add(*group, "restore", help_of("snapshot.restore"),
                          "  caged snapshot restore snap_7f --to cage_1a2b3c", [o](session& s) {
                            return call_and_show(s, "POST", snapshot_path(o->id, "/restore"),
                                                 {{"target_sandbox_id", o->to}}, "status", "restoring " + o->id);
                          });
  restore->add_option("SNAPSHOT", o->id, "The snapshot")->required();
  restore->add_option("--to", o->to, "The sandbox to overwrite")->required();

  auto* remove =
      set.add(*group, "delete", help_of("snapshot.delete"), "  caged snapshot delete snap_7f", [o](session& s) {
        return call_and_show(s, "DELETE", snapshot_path(o->id), nullptr, "status", "removing " + o->id);
      });
  remove->alias("rm");
  remove->add_option("SNAPSHOT", o->id, "The snapshot")->required();

  auto* fork = set.add(parent, "fork", help_of("sandbox.fork"), "  caged fork cage_1a2b3c", [o](session& s) {
    json body = json::object();
    if (!o->name.empty()) body["name"] = o->name;
    return call_and_show(s, "POST", sandbox_path(o->id, "/fork"), std::move(body), "id", "forking " + o->id);
  });
  fork->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  fork->add_option("--name", o->name, "A name for the new one");
}

}  // namespace caged::cli
