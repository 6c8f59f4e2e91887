// The configuration of `caged serve`: /etc/caged/config.yaml or --config, with defaults filled in.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <core/config/environment.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace caged::config {

// The least, most and default a sandbox may ask for.
struct amount_range {
  double min = 0;
  double max = 0;
  double fallback = 0;  // what a request that says nothing gets
};

struct host_config {
  std::string listen = "127.0.0.1:8080";          // ADDR:PORT, [ADDR6]:PORT; port 0 = any free one
  std::filesystem::path data;                     // absolute
  std::string log_level = "info";                 // debug info warn error
  std::string log_format = "text";                // text json
  std::vector<std::filesystem::path> plugin_dirs; // empty: the folder beside the program
  std::vector<std::string> server_names;          // further names the server answers to (Host header)
  std::vector<std::string> allowed_origins;       // browser origins beyond its own
  std::string default_backend;                    // "" = the first that works
  std::string default_template = "host";
  std::string default_network_mode = "none";
  std::vector<std::string> accept_missing;        // walls whose absence is accepted, e.g. "cgroup.memory"
  std::vector<std::filesystem::path> repo_roots;  // host folders `repo` may name as a path; empty = any readable
  // Per plugin "kind.name": its configuration object. Plugins without an entry get their schema's defaults.
  std::map<std::string, json> plugins;
  std::vector<std::string> disabled_plugins;      // "kind.name"; written `plugins: {kind: {name: false}}`

  struct {
    amount_range cpus{0.1, 8, 2};
    amount_range memory_mb{64, 8192, 512};
    amount_range disk_gb{1, 50, 5};
    amount_range timeout{1, 604800, 900};         // idle seconds
    std::uint32_t max_processes = 4096;           // per sandbox
    std::uint32_t sandboxes = 1024;               // alive at a time
    std::uint32_t connections = 4096;
  } limits;

  struct {
    std::uint32_t per_sandbox = 20;               // those that somebody asked for
    std::uint64_t account_bytes = 10ull << 30;    // of all sandboxes made with one key
    std::uint64_t each_bytes = 2ull << 30;
    bool on_idle = true;                          // one is taken when an idle sandbox is paused
  } snapshots;
  bool wake_paused = false;                       // a request to a paused sandbox resumes it

  struct {
    std::int64_t account_micro = 0;               // micro-dollars of all sandboxes together, 0 = none
    std::int64_t session_micro = 0;               // of one session
    bool pauses = false;                          // at 100 % a sandbox is paused, otherwise destroyed
    bool final_snapshot = false;                  // before that
    std::chrono::seconds interval{60};            // how often usage is written down and handed to billing plugins
    std::string plan;                             // free, pro, team, enterprise; empty = no limits of a plan
  } budgets;

  struct {
    std::chrono::seconds events_age{0};           // events of ended sessions are dropped after it, 0 = never
    std::uint64_t events_most = 0;                // so many events are kept at most, 0 = all
    std::chrono::seconds destroyed_age{0};        // records of destroyed sandboxes are dropped after it, 0 = never
    std::chrono::seconds recent{3600};            // destroyed sandboxes are in memory so long, then only stored
    std::chrono::seconds interval{60};            // how often it is looked
  } retention;

  struct {
    std::string server;                           // ADDR:PORT or NAME:PORT of an SMTP server; empty = no e-mail
    std::string from, user, password_file;
    std::string tls = "starttls";                 // none, starttls, tls
  } mail;

  // What is judged how. Lists of policies are as written: names, or {name: arguments}.
  struct {
    std::vector<std::filesystem::path> folders;   // searched before the shipped ones
    json use = json::array({"network", "trust", "budget"});
    std::map<std::string, json> accounts;         // further ones, by a key's name or id
    std::chrono::seconds approval_time{300};      // how long an `ask` waits for a human before it is denied
  } policies;

  struct {
    std::vector<std::string> resolvers;            // ADDR or ADDR:PORT; empty = those of /etc/resolv.conf
    std::map<std::string, std::vector<std::string>> hosts;  // names with fixed addresses
    std::vector<std::string> allow_inner;          // private and own addresses that sandboxes may reach all the same
    std::string proxy;                             // http://[user:password@]host:port; empty = HTTPS_PROXY
    std::vector<std::string> no_proxy;             // empty = NO_PROXY
    std::uint32_t connections = 16384;             // of one sandbox at a time
  } network;

  std::chrono::seconds session_idle{600};         // after which an agent's session is over
  std::chrono::seconds drain_time{20};            // how long a stopping server waits for running requests
  std::filesystem::path source;                   // the file it came from; empty = defaults
};

// The JSON Schema (2020-12) the file is held to; also printed by `caged config schema`.
const json& host_config_schema();

// `name` is what errors call the file. Errors: invalid_argument with file, line, path, found, expected.
result<host_config> parse_host_config(std::string_view text, std::string_view name);

// ADDR:PORT, [ADDR6]:PORT or NAME:PORT; else invalid_argument.
result<void> check_listen_address(std::string_view text);

// `file` empty: /etc/caged/config.yaml when there is one, else the defaults. Refuses a file that others may write.
result<host_config> load_host_config(const std::filesystem::path& file, const environment& env);

// CAGED_DATA, /var/lib/caged for root, $XDG_DATA_HOME/caged or ~/.local/share/caged otherwise; absolute.
std::filesystem::path default_data_dir(const environment& env);

}  // namespace caged::config
