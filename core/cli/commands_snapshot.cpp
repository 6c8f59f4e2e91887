// caged snapshot and caged fork.
#include <core/cli/commands.hpp>
#include <core/cli/terminal.hpp>

#include <cerrno>
#include <cstdio>

namespace caged::cli {
namespace {

struct snapshot_options {
  std::string id, name, description, to, file;
  unsigned count = 0;
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

result<int> show_snapshot(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto row = client->call("GET", snapshot_path(id));
  if (!row) return row.error();
  if (s.machine()) {
    s.print_document(*row);
    return 0;
  }
  for (const char* name : {"id", "name", "description", "sandbox_id", "status", "trigger", "size_bytes", "created_at"})
    s.print(std::string(name) + ": " + printable(field(*row, name)) + "\n");
  return 0;
}

struct stream_file {
  std::FILE* f = nullptr;
  ~stream_file() {
    if (f != nullptr && f != stdin && f != stdout) std::fclose(f);
  }
};

result<void> write_stream(http::client_stream& from, std::FILE* to, const std::string& name) {
  while (true) {
    auto piece = from.read();
    if (!piece) return piece.error();
    if (piece->empty()) break;
    if (std::fwrite(piece->data(), 1, piece->size(), to) != piece->size())
      return errno_error(errno, "write " + name, "Check the free space.");
  }
  if (std::fflush(to) != 0) return errno_error(errno, "write " + name, "Check the free space.");
  return {};
}

result<int> download_snapshot(session& s, const std::string& id, std::string to) {
  auto client = s.connect();
  if (!client) return client.error();
  if (to.empty()) to = id + ".tar.gz";
  http::client_request request;
  request.target = snapshot_path(id, "/download/content");
  auto opened = client->open(std::move(request));
  if (!opened) return opened.error();
  if (!opened->head().ok()) {
    http::client_response refused;
    static_cast<http::client_head&>(refused) = opened->head();
    if (auto body = opened->read_all(65536)) refused.body = std::move(*body);
    return refused.failure();
  }
  if (to == "-") {
    auto done = write_stream(*opened, stdout, "standard output");
    if (!done) return done.error();
    return 0;
  }
  // Into a file beside it, then renamed: a download that breaks off leaves what was there.
  const std::string part = to + ".caged-part";
  stream_file file{std::fopen(part.c_str(), "wbe")};
  if (file.f == nullptr) return errno_error(errno, "write " + part, "Check the folder and its permissions.");
  auto done = write_stream(*opened, file.f, part);
  if (done && std::rename(part.c_str(), to.c_str()) != 0) done = errno_error(errno, "rename to " + to);
  if (!done) {
    std::remove(part.c_str());
    return done.error();
  }
  if (!s.flags().quiet) s.print(to + "\n");
  return 0;
}

result<int> upload_snapshot(session& s, const std::string& id, const std::string& from, const std::string& name,
                            const std::string& description) {
  auto client = s.connect();
  if (!client) return client.error();
  stream_file file{from == "-" ? stdin : std::fopen(from.c_str(), "rbe")};
  if (file.f == nullptr) return errno_error(errno, "read " + from, "Check the path.");
  http::client_request request;
  request.method = "POST";
  request.target =
      sandbox_path(id, "/snapshots/upload") + query({{"name", name}, {"description", description}});
  request.fields = {{"content-type", "application/gzip"}};
  request.body_source = [&]() -> result<std::string> {
    std::string piece(256 * 1024, '\0');
    piece.resize(std::fread(piece.data(), 1, piece.size(), file.f));
    if (std::ferror(file.f) != 0) return errno_error(errno, "read " + from);
    return piece;
  };
  auto answer = client->request(std::move(request));
  if (!answer) return answer.error();
  if (!answer->ok()) return answer->failure();
  auto row = parse_json(answer->body);
  if (!row) return row.error();
  if (s.machine())
    s.print_document(*row);
  else
    s.print(printable(field(*row, "id")) + "\n");
  return 0;
}

result<int> fork_sandbox(session& s, const std::string& id, const std::string& name, unsigned count) {
  json body = json::object();
  if (!name.empty()) body["name"] = name;
  if (count == 0) return call_and_show(s, "POST", sandbox_path(id, "/fork"), std::move(body), "id", "forking " + id);
  body["count"] = count;
  auto client = s.connect();
  if (!client) return client.error();
  auto made = client->call("POST", sandbox_path(id, "/fork"), std::move(body), std::chrono::minutes(10));
  if (!made) return made.error();
  if (s.machine()) {
    s.print_document(*made);
    return 0;
  }
  for (const json& one : (*made)["sandboxes"]) s.print(printable(field(one, "id")) + "\n");
  return 0;
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

  auto* show = set.add(*group, "show", help_of("snapshot.get"), "  caged snapshot show snap_7f",
                       [o](session& s) { return show_snapshot(s, o->id); });
  show->alias("get");
  show->add_option("SNAPSHOT", o->id, "The snapshot")->required();

  auto* download = set.add(*group, "download", help_of("snapshot.content"),
                           "  caged snapshot download snap_7f --output clean.tar.gz",
                           [o](session& s) { return download_snapshot(s, o->id, o->file); });
  download->add_option("SNAPSHOT", o->id, "The snapshot")->required();
  download->add_option("--output,-o", o->file, "The file to write; SNAPSHOT.tar.gz without it, - for standard output");

  auto* upload = set.add(*group, "upload", help_of("snapshot.upload"),
                         "  caged snapshot upload cage_1a2b3c clean.tar.gz --name clean",
                         [o](session& s) { return upload_snapshot(s, o->id, o->file, o->name, o->description); });
  upload->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  upload->add_option("FILE", o->file, "The .tar.gz, - for standard input")->required();
  upload->add_option("--name", o->name, "A name for people");
  upload->add_option("--description", o->description, "What it is for");

  auto* fork = set.add(parent, "fork", help_of("sandbox.fork"), "  caged fork cage_1a2b3c\n  caged fork cage_1a2b3c -n 8",
                       [o](session& s) { return fork_sandbox(s, o->id, o->name, o->count); });
  fork->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  fork->add_option("--name", o->name, "A name for the new one");
  fork->add_option("-n,--count", o->count, "How many")->check(CLI::Range(1u, 256u));
}

}  // namespace caged::cli
