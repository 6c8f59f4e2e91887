#include "core/app/server.hpp"

#include <unistd.h>

#include <boost/asio/use_future.hpp>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/base/version.hpp"

namespace caged::app {
namespace {

void log(log_level level, std::string_view message) { base::log(level, "host", message); }

// "127.0.0.1:8080", "[::1]:0" → address and port.
result<std::pair<std::string, std::uint16_t>> split_listen(const std::string& listen) {
  const auto colon = listen.rfind(':');
  std::string address = listen.substr(0, colon);
  if (address.size() > 2 && address.front() == '[' && address.back() == ']')
    address = address.substr(1, address.size() - 2);
  const std::string port = colon == std::string::npos ? "" : listen.substr(colon + 1);
  if (address.empty() || port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(port) > 65535)
    return fail(errc::invalid_argument, "bad_listen", "listen \"" + listen + "\" is not ADDRESS:PORT",
                "Write it as in 127.0.0.1:8080 or [::1]:8080.", "/listen");
  return std::pair(address, static_cast<std::uint16_t>(std::stoi(port)));
}

}  // namespace

server::server(const config::host_config& config, std::filesystem::path program)
    : config_(config), program_(std::move(program)) {}

server::~server() { stop(); }

template <class T>
result<T> server::wait(task<T> work) {
  return asio::co_spawn(loop_.executor(), std::move(work), asio::use_future).get();
}

result<void> server::start() {
  if (auto made = base::make_folder(config_.data); !made) return made.error();
  auto lock = base::instance_lock::take(config_.data);
  if (!lock) return lock.error();
  lock_.emplace(std::move(*lock));
  loop_.start();

  http::server_options options;
  options.bounds.connections = config_.limits.connections;
  options.names = config_.server_names;
  options.origins = config_.allowed_origins;
  options.log = [](log_level level, std::string message) { base::log(level, "http", message); };
  http_ = http::server::make(loop_.executor(), std::move(options));

  if (auto ok = load_plugins(); !ok) return ok.error();
  if (auto ok = open_parts(); !ok) return ok.error();
  if (auto ok = listen(); !ok) return ok.error();
  if (auto ok = plugins_->serve_all(); !ok) return ok.error();
  // Only now is it known what the host itself serves to sandboxes that were taken over.
  if (auto ok = wait(sandboxes_->open_networks()); !ok) return ok.error();
  http_->start();
  return announce();
}

namespace {

// One storage serves: the one that is configured, else SQLite.
result<std::string> chosen_storage(const config::host_config& config) {
  std::string chosen;
  for (const auto& [name, own] : config.plugins) {
    if (!name.starts_with("storage.")) continue;
    if (!chosen.empty())
      return fail(errc::invalid_argument, "two_storages", "both " + chosen + " and " + name + " are configured",
                  "Keep one of them under plugins.storage.", "/plugins/storage");
    chosen = name;
  }
  return chosen.empty() ? "storage.sqlite" : chosen;
}

}  // namespace

result<void> server::load_plugins() {
  plugins::host_options options;
  options.executor = loop_.executor();
  options.blocking_executor = loop_.blocking();
  options.data_dir = config_.data;
  options.program_dir = program_.parent_path();
  options.log = [](log_level level, std::string_view channel, std::string_view message) {
    base::log(level, channel, message);
  };
  plugins_ = std::make_unique<plugins::plugin_host>(std::move(options));
  plugins_->add_service<operations>(&operations_);
  plugins_->add_service<http::front>(http_.get());
  plugins_->add_service<event_sink>(&sink_);
  if (auto ok = purses_.open(config_.data / "token.key"); !ok) return ok.error();
  plugins_->add_service<spending>(&purses_);
  plugins_->add_service<preview_access>(&previews_);

  const auto storage_name = chosen_storage(config_);
  if (!storage_name) return storage_name.error();
  auto folders = config_.plugin_dirs;
  if (folders.empty()) folders.push_back(program_.parent_path().parent_path() / "lib" / "caged" / "plugins");
  for (const auto& folder : folders) {
    auto files = plugins_->discover(folder);
    if (!files) return files.error();
    for (const auto& file : *files) {
      // One that cannot even be looked at is listed as refused by load() and does not keep the others from serving.
      auto seen = plugins_->inspect(file);
      const std::string name = seen ? seen->kind + "." + seen->name : file.filename().string();
      if (std::find(config_.disabled_plugins.begin(), config_.disabled_plugins.end(), name) !=
          config_.disabled_plugins.end())
        continue;
      if (seen && seen->kind == "storage" && name != *storage_name) continue;
      const auto own = config_.plugins.find(name);
      // Money goes to somebody outside only where that is asked for.
      if (seen && seen->kind == "billing" && name != "billing.ledger" && own == config_.plugins.end()) continue;
      if (auto loaded = plugins_->load(file, own == config_.plugins.end() ? json(nullptr) : own->second); !loaded) {
        // A mistake in the configuration must be mended before anything runs on half of it.
        if (own != config_.plugins.end()) return loaded.error();
        log(log_level::error, "plugin " + name + " is left out: " + describe(loaded.error()));
      }
    }
  }
  for (const auto& [name, own] : config_.plugins) {
    const auto loaded = plugins_->list();
    const bool known = std::any_of(loaded.begin(), loaded.end(),
                                   [&name = name](const auto& p) { return p.kind + "." + p.name == name; });
    if (!known)
      return fail(errc::invalid_argument, "plugin_not_found",
                  "the configuration names the plugin \"" + name + "\", which no plugin folder holds",
                  "Install it, or take it out.", "/plugins");
  }
  return {};
}

result<void> server::open_parts() {
  if (auto opened = plugins_->open_all(); !opened) return opened.error();
  auto* records = plugins_->find<storage>();
  if (!records)
    return fail(errc::unavailable, "no_storage", "no storage plugin is loaded",
                "Put caged-storage-sqlite.so into the plugin folder; `caged plugins` shows what was refused and why.");
  journal_ = std::make_unique<journal::journal>(loop_.executor(), *records);
  if (auto ok = wait(journal_->open()); !ok) return ok.error();
  sink_.connect(journal_.get());
  if (auto ok = wait(secrets_.open(config_.data / "secrets.key", *records, *journal_)); !ok) return ok.error();
  sessions_ = std::make_unique<journal::sessions>(*journal_, *records);
  if (auto ok = wait(sessions_->restore()); !ok) return ok.error();
  keys_ = std::make_unique<operation::auth>(*records);
  auto first = wait(keys_->open(first_key()));
  if (!first) return first.error();
  made_first_key_ = *first;

  if (auto ok = open_network(); !ok) return ok.error();
  sandbox::manager::parts parts;
  parts.executor = loop_.executor();
  parts.blocking = loop_.blocking();
  parts.journal = journal_.get();
  parts.records = records;
  parts.sessions = sessions_.get();
  parts.config = &config_;
  parts.network = network_.get();
  if (auto ok = wait(purses_.load(*records, {config_.budgets.account_micro, config_.budgets.session_micro})); !ok)
    return ok.error();
  parts.usage = &purses_.book();
  parts.budgets = &purses_.budgets();
  parts.add_environment = [this](const sandbox::record& r, std::map<std::string, std::string>& env) -> result<void> {
    for (const auto& name : r.secrets) {
      auto value = secrets_.value(name);
      if (!value) return value.error();
      env.insert_or_assign(name, std::move(*value));
    }
    purses_.add_environment(r.id, env);
    return {};
  };
  parts.staging = config_.data / "staging";
  parts.templates = config_.data / "templates";
  parts.log = [](log_level level, std::string message) { base::log(level, "sandbox", message); };
  for (const auto& p : plugins_->list())
    if (p.kind == "vmm" && p.at == plugins::stage::open) parts.backends[p.name] = plugins_->find<vmm_backend>(p.name);
  if (parts.backends.empty())
    return fail(errc::unavailable, "no_backend", "no vmm plugin is loaded",
                "Put caged-vmm-jail.so into the plugin folder; `caged plugins` shows what was refused and why.");
  sandboxes_ = std::make_unique<sandbox::manager>(std::move(parts));
  open_judge(*records);

  operations_.connect({keys_.get(), journal_.get(),
                       [](log_level level, std::string message) { base::log(level, "operation", message); },
                       [this](std::string_view id) {
                         auto found = sandboxes_->find(id);
                         return found ? (*found)->rec.session_id : std::string();
                       }});
  services_ = {&operations_,
               &config_,
               sandboxes_.get(),
               journal_.get(),
               records,
               keys_.get(),
               std::string(base::version()),
               [this] {
                 json rows = json::array();
                 for (const auto& p : plugins_->list()) {
                   json row = plugins::to_json(p);
                   row.erase("config_schema");
                   rows.push_back(std::move(row));
                 }
                 return rows;
               },
               [this](const std::string& name) -> result<json> {
                 for (const auto& p : plugins_->list())
                   if (p.kind + "." + p.name == name || p.name == name) return p.config_schema;
                 return fail(errc::not_found, "plugin_not_found", "there is no plugin \"" + name + "\"",
                             "See `caged plugins`.", "/name");
               }};
  services_.secrets = &secrets_;
  services_.purses = &purses_;
  services_.reporter = &reporter_;
  services_.previews = &previews_;
  previews_.connect(sandboxes_.get(), loop_.blocking());
  operation::add_all_operations(services_);
  services_.judge = judge_.get();
  services_.sessions = sessions_.get();
  services_.alerts = alerts_.get();
  operations_.set_gate(operation::make_gate(services_));
  if (auto started = wait(sandboxes_->start()); !started) return started.error();
  sandbox::purse_keeper::parts money;
  money.sandboxes = sandboxes_.get();
  money.journal = journal_.get();
  money.records = records;
  money.permit = [this](event question) { return judge_->permit(std::move(question)); };
  money.log = [](log_level level, std::string message) { base::log(level, "meter", message); };
  if (auto ok = wait(purses_.connect(std::move(money))); !ok) return ok.error();
  open_billing();
  if (auto ok = wait(judge_->start()); !ok) return ok.error();
  return wait(alerts_->start());
}

result<void> server::listen() {
  auto where = split_listen(config_.listen);
  if (!where) return where.error();
  auto bound = http_->listen(where->first, where->second);
  if (!bound) return bound.error();
  address_ = *bound;
  return {};
}

// Local clients find the server by this file.
result<void> server::announce() {
  const json about{{"pid", getpid()}, {"address", address_}, {"version", base::version()}};
  return base::write_file(config_.data / "server.json", about.dump() + "\n", 0600);
}

void server::stop() {
  if (!plugins_) return;
  std::error_code ignored;
  std::filesystem::remove(config_.data / "server.json", ignored);
  // Nothing new; what runs may finish; then the parts end in the reverse order of their start.
  if (auto ok = plugins_->drain_all(); !ok) log(log_level::warn, "draining: " + describe(ok.error()));
  if (http_) {
    if (auto ok = wait(http_->drain(config_.drain_time)); !ok)
      log(log_level::warn, "draining: " + describe(ok.error()));
    asio::co_spawn(loop_.executor(), http_->stop(), asio::use_future).get();
  }
  if (housekeeping_) asio::co_spawn(loop_.executor(), housekeeping_->stop(), asio::use_future).get();
  if (alerts_) asio::co_spawn(loop_.executor(), alerts_->stop(), asio::use_future).get();
  if (judge_) asio::co_spawn(loop_.executor(), judge_->stop(), asio::use_future).get();
  if (sandboxes_) asio::co_spawn(loop_.executor(), sandboxes_->stop(), asio::use_future).get();
  if (network_) asio::co_spawn(loop_.executor(), network_->stop(), asio::use_future).get();
  sink_.connect(nullptr);
  if (journal_)
    if (auto ok = wait(journal_->close()); !ok) log(log_level::error, "closing the journal: " + describe(ok.error()));
  if (auto ok = plugins_->close_all(); !ok) log(log_level::warn, "closing: " + describe(ok.error()));
  loop_.stop();
  plugins_.reset();
}

}  // namespace caged::app
