#include <core/cli/sandbox_calls.hpp>

#include <core/cli/terminal.hpp>
#include <core/config/client_config.hpp>
#include <core/config/sandbox_file.hpp>

#include <poll.h>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

result<std::optional<config::sandbox_request>> read_file(const session& s, file_policy policy) {
  using answer = std::optional<config::sandbox_request>;
  fs::path file = s.flags().config;
  if (file.empty()) {
    if (policy != file_policy::from_folder) return answer{};
    file = config::sandbox_file_name;
    std::error_code failed;
    if (!fs::exists(file, failed)) return answer{};
  }
  auto request = config::load_sandbox_file(file, s.env());
  if (!request) return request.error();
  return answer(std::move(*request));
}

// What an event says to somebody who waits: its message, else its type.
std::string progress_text(const http::sse_event& e) {
  const auto parsed = parse_json(e.data);
  if (!parsed || !parsed->is_object()) return {};
  const json data = parsed->value("data", json::object());
  for (const char* key : {"message", "step", "action", "status"}) {
    if (data.is_object() && data.contains(key) && data[key].is_string()) return data[key].get<std::string>();
  }
  return {};
}

// The event stream of a sandbox as a source of progress; losing it costs nothing but the texts.
class progress_events {
 public:
  progress_events(http::client& client, const std::string& id) {
    http::client_request request;
    request.target = sandbox_path(id, "/events") + "?after=0";
    auto opened = client.events(std::move(request));
    if (opened) stream_.emplace(std::move(*opened));
  }

  // Waits at most `time` for an event; its text, "" for none.
  std::string wait(std::chrono::milliseconds time) {
    if (!stream_) {
      ::poll(nullptr, 0, static_cast<int>(time.count()));
      return {};
    }
    pollfd p{stream_->stream().descriptor(), POLLIN, 0};
    if (!stream_->stream().buffered() && ::poll(&p, 1, static_cast<int>(time.count())) <= 0) return {};
    auto next = stream_->next();
    if (!next || !*next) {
      stream_.reset();
      return {};
    }
    return progress_text(**next);
  }

 private:
  std::optional<http::event_stream> stream_;
};

double number(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_number() ? it->get<double>() : 0;
}

bool has_number(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_number();
}

}  // namespace

result<config::sandbox_request> build_request(const session& s, const resource_flags& flags, file_policy policy) {
  auto request = config::environment_defaults(s.env());
  if (!request) return request.error();
  auto client = config::load_client_config(config::client_config_dir(s.env()));
  if (!client) return client.error();
  request->overlay(client->defaults);
  auto file = read_file(s, policy);
  if (!file) return file.error();
  if (*file) request->overlay(**file);
  auto given = to_request(flags, s.env());
  if (!given) return given.error();
  request->overlay(*given);
  if (auto ok = request->settle(); !ok) return ok.error();
  return request;
}

result<json> create_sandbox(http::client& client, const config::sandbox_request& request) {
  auto made = client.call("POST", "/v1/sandboxes", request.body());
  if (!made) return made.error();
  if (!made->is_object() || !made->contains("id") || !(*made)["id"].is_string()) {
    return fail(errc::internal, "unexpected_answer", "the server made a sandbox but named no id",
                "Check that --api-url names a Caged server of this version.");
  }
  return made;
}

error sandbox_failure(const json& sandbox) {
  const std::string id = field(sandbox, "id");
  const std::string status = field(sandbox, "status");
  const json reason = sandbox.value("error", json());
  if (reason.is_object()) {
    return fail(
        errc::unavailable, field(reason, "reason"), "sandbox " + id + " failed: " + field(reason, "message"),
        reason.value("action", json("")).is_string() ? reason.value("action", json("")).get<std::string>() : "");
  }
  const std::string why = field(sandbox, "ended_reason");
  return fail(errc::conflict, "sandbox_not_running",
              "sandbox " + id + " is " + status + (why == "-" ? "" : " (" + why + ")") + ", expected running",
              status == "paused" ? "Wake it with 'caged resume " + id + "'." : "See 'caged logs " + id + "'.");
}

result<json> wait_until_running(const session& s, http::client& client, json sandbox) {
  const std::string id = field(sandbox, "id");
  if (field(sandbox, "status") == "running") return sandbox;
  std::optional<progress> shown;
  if (!s.flags().quiet) shown.emplace("making sandbox " + id);
  progress_events events(client, id);
  for (;;) {
    const std::string status = field(sandbox, "status");
    if (status == "running") return sandbox;
    if (status != "pending" && status != "creating") return sandbox_failure(sandbox);
    const auto until = clock::now() + std::chrono::milliseconds(250);
    while (clock::now() < until) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now());
      const std::string text = events.wait(std::max(left, std::chrono::milliseconds(1)));
      if (text.empty()) continue;
      if (shown) shown->say(text);
      break;
    }
    auto now = client.call("GET", sandbox_path(id));
    if (!now) return now.error();
    sandbox = std::move(*now);
  }
}

std::string sandbox_table(const json& sandboxes, colors use) {
  using side = column::side;
  table out({{"ID"}, {"NAME"}, {"STATUS"}, {"TEMPLATE"}, {"CPUs", side::right}, {"MEMORY", side::right}, {"CREATED"}});
  for (const json& s : sandboxes) {
    const std::string status = field(s, "status");
    const std::string memory = has_number(s, "memory_mb") ? field(s, "memory_mb") + " MB" : "-";
    out.add({field(s, "id"), field(s, "name"), status, field(s, "template"), field(s, "cpus"), memory,
             field(s, "created_at")},
            {tint::unset, tint::unset, status_tint(status)});
  }
  return out.text(use);
}

std::string sandbox_status(const json& s, const json& metrics, colors use) {
  std::vector<std::pair<std::string, std::string>> lines;
  const auto say = [&](const char* title, const std::string& value) {
    if (value != "-" && !value.empty()) lines.emplace_back(title, value);
  };
  say("ID", field(s, "id"));
  say("Name", field(s, "name"));
  say("Status", field(s, "status"));
  if (s.value("error", json()).is_object()) {
    say("Error", field(s["error"], "message"));
    say("What to do", field(s["error"], "action"));
  }
  say("Ended", field(s, "ended_reason"));
  say("Template", field(s, "template"));
  say("Backend", field(s, "backend"));
  say("CPUs", field(s, "cpus"));
  if (has_number(s, "memory_mb")) say("Memory", field(s, "memory_mb") + " MB");
  if (has_number(s, "disk_gb")) say("Disk", field(s, "disk_gb") + " GB");
  say("Network", field(s, "network_mode"));
  say("Allowed hosts", field(s, "allowlist"));
  say("Repository", field(s, "repo_url"));
  say("Created", field(s, "created_at"));
  say("Started", field(s, "started_at"));
  say("Stopped", field(s, "stopped_at"));
  if (has_number(s, "timeout")) {
    say("Idle timeout", human_duration(std::chrono::seconds(static_cast<std::int64_t>(number(s, "timeout")))));
  }
  if (has_number(metrics, "cpu_user_ms")) {
    const double cpu = number(metrics, "cpu_user_ms") + number(metrics, "cpu_system_ms");
    say("CPU time", human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(cpu))));
  }
  if (has_number(metrics, "memory_bytes")) {
    std::string text = human_bytes(static_cast<std::uint64_t>(number(metrics, "memory_bytes")));
    if (has_number(metrics, "memory_peak_bytes")) {
      text += " (peak " + human_bytes(static_cast<std::uint64_t>(number(metrics, "memory_peak_bytes"))) + ")";
    }
    say("Memory used", text);
  }
  if (has_number(s, "total_cost")) say("Cost", human_dollars(number(s, "total_cost")));
  if (has_number(s, "budget") && number(s, "budget") > 0) {
    const double left = std::max(0.0, number(s, "budget") - number(s, "total_cost"));
    say("Budget", human_dollars(number(s, "budget")) + ", " + human_dollars(left) + " left");
  }
  say("Walls", field(s, "walls"));
  say("Missing walls", field(s, "missing_walls"));
  say("Session", field(s, "session_id"));
  return key_values(lines, use);
}

}  // namespace caged::cli
