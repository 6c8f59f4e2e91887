#include <caged/billing.hpp>
#include <caged/storage.hpp>
#include <caged/testing/contract.hpp>
#include <caged/vmm.hpp>

#include "core/plugin/plugin_host.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

struct check_ended {};

struct registered {
  std::string kind;
  suite::start from;
  check what;
};

std::vector<registered>& all_checks() {
  static std::vector<registered> all;
  return all;
}

}  // namespace

struct contract_context::parts {
  const caged_plugin_descriptor* descriptor = nullptr;  // or
  fs::path file;
  plugins::plugin_status status;
  const contract_options* options = nullptr;
  fake_host host;
  std::unique_ptr<plugins::plugin_host> plugins;
  std::vector<std::string> failures;
  std::string skipped;

  void make_host() {
    plugins::host_options o;
    o.executor = host.executor();
    o.blocking_executor = host.blocking_executor();
    o.data_dir = host.data_dir();
    o.program_dir = host.program_dir();
    o.log = [this](log_level level, std::string_view channel, std::string_view message) {
      host.log(level, std::string(channel) + ": " + std::string(message));
    };
    plugins = std::make_unique<plugins::plugin_host>(std::move(o));
    plugins->add_service<operations>(&host.registry());
    plugins->add_service<event_sink>(&host.events());
    plugins->add_service<http::front>(&host.front());
  }
};

suite::suite(const char* kind, std::vector<check> checks) : suite(kind, start::serving, std::move(checks)) {}
suite::suite(const char* kind, start from, std::vector<check> checks) {
  for (const check& c : checks) all_checks().push_back({kind, from, c});
}

contract_context::contract_context(std::unique_ptr<parts> p) : parts_(std::move(p)) { parts_->make_host(); }
contract_context::~contract_context() { parts_->plugins.reset(); }

fake_host& contract_context::host() { return parts_->host; }
const contract_options& contract_context::options() const { return *parts_->options; }
const std::vector<std::string>& contract_context::offers() const { return parts_->status.offers; }
const std::string& contract_context::summary() const { return parts_->status.summary; }
const json& contract_context::config_schema() const { return parts_->status.config_schema; }

plugin& contract_context::object() {
  const std::string& kind = parts_->status.kind;
  if (kind == "vmm") return interface<vmm_backend>();
  if (kind == "storage") return interface<storage>();
  if (kind == "transport") return interface<transport>();
  if (kind == "billing") return interface<billing_provider>();
  if (kind != "tool") skip("no interface of kind " + kind + " is known to this SDK");
  return interface<tool>();
}

fs::path contract_context::data_dir() const {
  return parts_->host.data_dir() / "plugins" / (parts_->status.kind + "." + parts_->status.name);
}

void* contract_context::find(std::string_view interface_name) {
  return parts_->plugins->find_service(std::string(interface_name) + "/" + parts_->status.name);
}

result<void> contract_context::load(json config) {
  return parts_->descriptor ? parts_->plugins->adopt(*parts_->descriptor, std::move(config))
                            : parts_->plugins->load(parts_->file, std::move(config));
}

result<void> contract_context::step(std::string_view name) {
  if (name == "open") return parts_->plugins->open_all();
  if (name == "serve") return parts_->plugins->serve_all();
  if (name == "drain") return parts_->plugins->drain_all();
  return parts_->plugins->close_all();
}

void contract_context::close() {
  require_ok(step("drain"), "drain");
  require_ok(step("close"), "close");
}

void contract_context::reopen() {
  close();
  parts_->host.registry().clear();
  parts_->make_host();
  require_ok(load(options().config), "load");
  require_ok(step("open"), "open");
  require_ok(step("serve"), "serve");
}

void contract_context::expect(bool holds, const std::string& what) {
  if (!holds) parts_->failures.push_back(what);
}

void contract_context::require(bool holds, const std::string& what) {
  expect(holds, what);
  if (!holds) throw check_ended{};
}

void contract_context::skip(const std::string& why) {
  parts_->skipped = why;
  throw check_ended{};
}

class runner {
 public:
  static check_result run(const registered& r, const caged_plugin_descriptor* descriptor, const fs::path& file,
                          const plugins::plugin_status& status, const contract_options& options) {
    auto p = std::make_unique<contract_context::parts>();
    p->descriptor = descriptor;
    p->file = file;
    p->status = status;
    p->options = &options;
    contract_context context(std::move(p));
    try {
      if (r.from == suite::start::serving) {
        context.require_ok(context.load(options.config), "load");
        context.require_ok(context.step("open"), "open");
        context.require_ok(context.step("serve"), "serve");
      }
      r.what.run(context);
    } catch (const check_ended&) {
    } catch (const std::exception& e) {
      context.parts_->failures.push_back(std::string("an exception: ") + e.what());
    }
    check_result out{r.kind.empty() ? "every kind" : r.kind, r.what.name, verdict::passed, {}};
    for (const std::string& failure : context.parts_->failures)
      out.detail += (out.detail.empty() ? "" : "; ") + failure;
    if (!out.detail.empty())
      out.how = verdict::failed;
    else if (!context.parts_->skipped.empty())
      out.how = verdict::skipped, out.detail = context.parts_->skipped;
    return out;
  }

  static contract_report all(const caged_plugin_descriptor* descriptor, const fs::path& file,
                             const plugins::plugin_status& status, const contract_options& options) {
    contract_report report;
    report.plugin = status.kind + "." + status.name;
    // The order files are linked in decides nothing: every kind's checks first, then the kind's own.
    for (const bool generic : {true, false}) {
      for (const registered& r : all_checks()) {
        if (r.kind.empty() != generic || (!generic && r.kind != status.kind)) continue;
        if ((r.kind + ": " + r.what.name).find(options.filter) == std::string::npos) continue;
        report.checks.push_back(run(r, descriptor, file, status, options));
      }
    }
    return report;
  }
};

bool contract_report::passed() const {
  return !checks.empty() &&
         std::none_of(checks.begin(), checks.end(), [](const auto& c) { return c.how == verdict::failed; });
}

std::string contract_report::text() const {
  std::string out;
  int failed = 0, skipped = 0;
  for (const check_result& c : checks) {
    const char* word = c.how == verdict::passed ? "ok      " : c.how == verdict::skipped ? "skipped " : "FAILED  ";
    failed += c.how == verdict::failed;
    skipped += c.how == verdict::skipped;
    out += word + c.suite + ": " + c.name + (c.detail.empty() ? "" : ": " + c.detail) + "\n";
  }
  return out + plugin + ": " + std::to_string(checks.size()) + " checks, " + std::to_string(failed) + " failed, " +
         std::to_string(skipped) + " skipped\n";
}

contract_report run_contract(const caged_plugin_descriptor& descriptor, const contract_options& options) {
  plugins::plugin_status status;
  if (descriptor.kind != nullptr) status.kind = descriptor.kind;
  if (descriptor.name != nullptr) status.name = descriptor.name;
  {
    // Learns what it offers, through the host's own checks.
    fake_host probe;
    plugins::host_options o;
    o.executor = probe.executor();
    o.blocking_executor = probe.blocking_executor();
    o.data_dir = probe.data_dir();
    plugins::plugin_host host(std::move(o));
    (void)host.adopt(descriptor, options.config);
    if (!host.list().empty() && !host.list().front().kind.empty()) status = host.list().front();
  }
  return runner::all(&descriptor, {}, status, options);
}

result<contract_report> run_contract(const fs::path& file, const contract_options& options) {
  fake_host probe;
  plugins::host_options o;
  o.executor = probe.executor();
  plugins::plugin_host host(std::move(o));
  auto status = host.inspect(file);
  if (status.has_error()) return status.error();
  return runner::all(nullptr, status->path, *status, options);
}

}  // namespace caged::testing
