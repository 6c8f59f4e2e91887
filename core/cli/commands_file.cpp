// caged cp, files, diff, changes.
#include <core/cli/commands.hpp>
#include <core/cli/copy.hpp>

namespace caged::cli {
namespace {

result<int> perform_files(session& s, const std::string& id, const std::string& path) {
  auto client = s.connect();
  if (!client) return client.error();
  auto entries = client->call("GET", sandbox_path(id, "/files") + query({{"path", path}}));
  if (!entries) return entries.error();
  if (s.machine()) {
    s.print_document(*entries);
    return 0;
  }
  table out({{"MODE"}, {"SIZE", column::side::right}, {"CHANGED"}, {"NAME"}});
  for (const json& e : *entries) {
    const bool folder = field(e, "type") == "directory";
    const bool sized = e.contains("size") && e["size"].is_number_unsigned() && !folder;
    out.add({field(e, "mode"), sized ? human_bytes(e["size"].get<std::uint64_t>()) : "-", field(e, "mod_time"),
             field(e, "name") + (folder ? "/" : "")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> perform_diff(session& s, const std::string& id, const std::string& path) {
  auto client = s.connect();
  if (!client) return client.error();
  auto diff =
      client->call("GET", sandbox_path(id, "/git/diff") + query({{"path", path}}), nullptr, std::chrono::minutes(1));
  if (!diff) return diff.error();
  if (s.machine()) {
    s.print_document(*diff);
    return 0;
  }
  for (const json& f : diff->value("files", json::array())) {
    if (field(f, "status") == "untracked") s.note("not in git: " + field(f, "path"));
  }
  for (const char* part : {"staged_diff", "diff"}) {
    const std::string text = diff->value(part, json("")).is_string() ? (*diff)[part].get<std::string>() : "";
    // On a terminal made harmless; into a file or pipe as it is, so that `git apply` takes it.
    s.print(s.out_colors() == colors::on ? printable_lines(text) : text);
  }
  return 0;
}

result<int> perform_changes(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto changes = client->call("GET", sandbox_path(id, "/changes"), nullptr, std::chrono::minutes(1));
  if (!changes) return changes.error();
  if (s.machine()) {
    s.print_document(*changes);
    return 0;
  }
  struct kind {
    const char* name;
    const char* mark;
    tint color;
  };
  for (const kind& k :
       {kind{"created", "+ ", tint::green}, kind{"modified", "~ ", tint::yellow}, kind{"deleted", "- ", tint::red}}) {
    for (const json& one : changes->value(k.name, json::array())) {
      const std::string path = one.is_string() ? one.get<std::string>() : field(one, "path");
      s.print(colored(k.mark + printable(path), k.color, s.out_colors()) + "\n");
    }
  }
  return 0;
}

}  // namespace

void add_file_commands(CLI::App& parent, const command_set& set) {
  auto from = std::make_shared<std::string>();
  auto to = std::make_shared<std::string>();
  auto* copy = set.add(parent, "cp", help_of("file.write", "Copy files and folders into a sandbox and out of it"),
                       "  caged cp ./data.bin cage_1a2b3c:/workspace/\n"
                       "  caged cp cage_1a2b3c:/workspace/dist ./dist\n"
                       "One side is ID:PATH. Modes are kept; owners and set-id bits are not.",
                       [=](session& s) { return perform_copy(s, parse_copy_place(*from), parse_copy_place(*to)); });
  copy->add_option("FROM", *from, "ID:PATH or a local path")->required();
  copy->add_option("TO", *to, "A local path or ID:PATH")->required();

  auto id = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  auto* files = set.add(parent, "files", help_of("file.list"), "  caged files cage_1a2b3c /workspace/src",
                        [=](session& s) { return perform_files(s, *id, *path); });
  files->add_option("ID", *id, about("sandbox.get", "id"))->required();
  files->add_option("PATH", *path, "The folder (default /workspace)");

  auto* diff = set.add(parent, "diff", help_of("git.diff"), "  caged diff cage_1a2b3c | git apply",
                       [=](session& s) { return perform_diff(s, *id, *path); });
  diff->add_option("ID", *id, about("sandbox.get", "id"))->required();
  diff->add_option("PATH", *path, about("git.diff", "path"));

  auto* changes = set.add(parent, "changes", help_of("sandbox.changes"), "  caged changes cage_1a2b3c --json",
                          [=](session& s) { return perform_changes(s, *id); });
  changes->add_option("ID", *id, about("sandbox.get", "id"))->required();
}

}  // namespace caged::cli
