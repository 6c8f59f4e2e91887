// caged up, create, list, status, destroy, pause, resume.
#include <core/cli/commands.hpp>
#include <core/cli/sandbox_calls.hpp>
#include <core/cli/terminal.hpp>

#include <thread>

namespace caged::cli {
namespace {

struct up_options {
  resource_flags resources;
  bool no_wait = false;
};

result<int> perform_up(session& s, const up_options& options, file_policy policy) {
  auto request = build_request(s, options.resources, policy);
  if (!request) return request.error();
  auto client = s.connect(start_policy::if_needed);
  if (!client) return client.error();
  auto sandbox = create_sandbox(*client, *request);
  if (!sandbox) return sandbox.error();
  const std::string id = field(*sandbox, "id");
  if (!options.no_wait) {
    auto running = wait_until_running(s, *client, *sandbox);
    if (!running) return running.error();
    sandbox = std::move(running);
  }
  if (s.machine()) {
    s.print_document(*sandbox);
    return 0;
  }
  s.print(printable(id) + "\n");
  s.note("status " + field(*sandbox, "status") + "; run a command with 'caged exec " + id +
         " -- CMD', open a terminal with 'caged connect " + id + "', end it with 'caged rm " + id + "'");
  return 0;
}

result<int> perform_list(session& s, const std::string& status) {
  auto client = s.connect();
  if (!client) return client.error();
  auto sandboxes = client->call("GET", "/v1/sandboxes" + query({{"status", status}}));
  if (!sandboxes) return sandboxes.error();
  if (s.machine()) {
    s.print_document(*sandboxes);
  } else if (!sandboxes->is_array() || sandboxes->empty()) {
    s.note("there are no sandboxes; make one with 'caged up' or 'caged run -- CMD'");
  } else {
    s.print(sandbox_table(*sandboxes, s.out_colors()));
  }
  return 0;
}

result<int> perform_status(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto sandbox = client->call("GET", sandbox_path(id));
  if (!sandbox) return sandbox.error();
  json metrics = json::object();
  if (field(*sandbox, "status") == "running" || field(*sandbox, "status") == "paused") {
    // Counters are an addition: a backend may lack them, and the box may end between the two calls.
    if (auto counted = client->call("GET", sandbox_path(id, "/metrics"))) metrics = std::move(*counted);
  }
  if (s.machine()) {
    json both = *sandbox;
    both["metrics"] = metrics;
    s.print_document(both);
  } else {
    s.print(sandbox_status(*sandbox, metrics, s.out_colors()));
  }
  return 0;
}

// One call for each id; all are tried, the first failure is the answer.
result<int> for_each(session& s, const std::vector<std::string>& ids, const std::string& method,
                     const std::string& rest, const std::string& done) {
  auto client = s.connect();
  if (!client) return client.error();
  std::optional<error> first;
  json results = json::array();
  for (const auto& id : ids) {
    std::optional<progress> shown;
    if (!s.flags().quiet) shown.emplace(done + " " + id);
    auto answer = client->call(method, sandbox_path(id, rest), nullptr, std::chrono::minutes(2));
    shown.reset();
    results.push_back({{"id", id}, {"ok", answer.has_value()}});
    if (answer) {
      if (!s.machine()) s.print(printable(id) + "\n");
      continue;
    }
    results.back()["error"] = {{"code", answer.error().reason}, {"message", answer.error().message}};
    if (!first) {
      first = answer.error();
    } else {
      write_all(2, error_text(answer.error(), s.err_colors()));
    }
  }
  if (s.machine()) s.print_document(results);
  if (first) return *first;
  return 0;
}

void add_each(CLI::App& parent, const command_set& set, const std::string& name, const std::string& alias,
              const help_text& summary, const std::string& method, const std::string& rest, const std::string& doing) {
  auto ids = std::make_shared<std::vector<std::string>>();
  auto* command = set.add(parent, name, summary, "  caged " + name + " cage_1a2b3c",
                          [=](session& s) { return for_each(s, *ids, method, rest, doing); });
  command->alias(alias);
  command->add_option("ID", *ids, "The sandboxes")->required();
}

void add_up(CLI::App& parent, const command_set& set, const std::string& name, file_policy policy) {
  auto options = std::make_shared<up_options>();
  const bool up = policy == file_policy::from_folder;
  auto* command = set.add(
      parent, name,
      up ? help_of("sandbox.create", "Make the sandbox that .caged.yaml and the flags describe, and leave it running")
         : help_of("sandbox.create"),
      up ? "  caged up\n  caged up --cpus 4 --memory 2G --env TOKEN\n  caged up --config ci.caged.yaml --json"
         : "  caged sandboxes create --template python-312 --repo https://example.org/project.git",
      [options, policy](session& s) { return perform_up(s, *options, policy); });
  add_resource_flags(*command, options->resources);
  command->add_option("-c,--config", set.flags.config,
                      up ? "Read this file instead of ./.caged.yaml" : "Read this .caged.yaml too");
  command->add_flag("--no-wait", options->no_wait, "Answer at once, while it is still being made");
  command->add_flag("--no-start", set.flags.no_start, "Do not start a local server when none runs");
}

}  // namespace

void add_lifecycle_commands(CLI::App& parent, const command_set& set) {
  add_up(parent, set, "up", file_policy::from_folder);
  if (parent.get_name() == "sandboxes") add_up(parent, set, "create", file_policy::only_when_named);

  auto status = std::make_shared<std::string>();
  auto* list = set.add(parent, "list", help_of("sandbox.list"), "  caged ls\n  caged ls --status running --json",
                       [status](session& s) { return perform_list(s, *status); });
  list->alias("ls");
  list->add_option("--status", *status,
                   about("sandbox.list", "status") + " pending running paused stopped error destroyed");

  auto id = std::make_shared<std::string>();
  auto* show = set.add(parent, "status", help_of("sandbox.get"), "  caged status cage_1a2b3c",
                       [id](session& s) { return perform_status(s, *id); });
  show->add_option("ID", *id, about("sandbox.get", "id"))->required();

  add_each(parent, set, "destroy", "rm", help_of("sandbox.destroy"), "DELETE", "", "destroying");
  add_each(parent, set, "pause", "sleep", help_of("sandbox.pause"), "POST", "/pause", "pausing");
  add_each(parent, set, "resume", "wake", help_of("sandbox.resume"), "POST", "/resume", "resuming");
}

}  // namespace caged::cli
