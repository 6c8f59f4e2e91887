#include "options.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace caged::transport_llm {
namespace {

std::chrono::milliseconds milliseconds_of(const json& config, const char* key, double fallback) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(config.value(key, fallback) * 1000));
}

result<std::string> read_text(const std::string& path, const std::string& what) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in)
    return fail(errc::invalid_argument, "unreadable_file", what + " cannot be read: " + path,
                "Check the path and its mode.");
  return text.str();
}

result<std::string> key_of(const std::string& name, const json& config) {
  std::string key = config.value("api_key", "");
  const std::string where = "/providers/" + name;
  if (config.contains("api_key_env")) {
    const char* value = std::getenv(config["api_key_env"].get<std::string>().c_str());
    if (value == nullptr)
      return fail(errc::invalid_argument, "key_missing",
                  "the variable " + config["api_key_env"].get<std::string>() + " is not set", "Set it for the server.",
                  where + "/api_key_env");
    key = value;
  }
  if (config.contains("api_key_file")) {
    auto text = read_text(config["api_key_file"].get<std::string>(), "the key of provider " + name);
    if (!text) return text.error();
    key = *text;
  }
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r' || key.back() == ' ')) key.pop_back();
  if (key.find_first_of("\r\n") != std::string::npos)
    return fail(errc::invalid_argument, "bad_key", "the key of provider " + name + " has several lines",
                "Give the key alone.", where);
  return key;
}

std::string default_url(const std::string& kind) {
  if (kind == "anthropic") return "https://api.anthropic.com";
  if (kind == "gemini") return "https://generativelanguage.googleapis.com";
  return "https://api.openai.com/v1";
}

result<std::shared_ptr<provider>> read_provider(asio::any_io_executor executor, const std::string& name,
                                                const json& config, const json& whole) {
  auto p = std::make_shared<provider>();
  p->name = name;
  p->kind = config["kind"].get<std::string>();
  auto key = key_of(name, config);
  if (!key) return key.error();
  p->key = std::move(*key);
  p->models = config.value("models", std::vector<std::string>());
  p->failover = config.value("failover", std::vector<std::string>());
  p->free = config.value("free", false);
  p->stream_usage = config.value("stream_usage", true);
  const json headers = config.value("headers", json::object());  // items() does not keep a temporary alive
  for (const auto& [field, value] : headers.items())
    p->extra.emplace_back(field, value.get<std::string>());
  http::upstream_options to;
  to.base_url = config.value("base_url", default_url(p->kind));
  while (to.base_url.ends_with('/')) to.base_url.pop_back();
  for (const std::string_view version : {"/v1", "/v1beta"})
    if (to.base_url.ends_with(version)) p->strip = version;
  to.ca_file = config.value("ca_file", "");
  to.connect_timeout = milliseconds_of(whole, "connect_seconds", 10);
  to.idle_connections = 256;
  auto origin = http::upstream::make(std::move(executor), std::move(to));
  if (!origin) return origin.error();
  p->origin = std::move(*origin);
  return p;
}

}  // namespace

result<gateway_options> read_options(asio::any_io_executor executor, const json& config) {
  gateway_options o;
  o.host = config.value("host", "llm.caged.internal");
  o.url = config.value("url", "http://llm.caged.internal");
  while (o.url.ends_with('/')) o.url.pop_back();
  o.clamp = config.value("on_budget", "clamp") == "clamp";
  o.record_bodies = config.value("bodies", "none") == "record";
  o.refuse_unknown = config.value("unknown_model", "highest") == "refuse";
  o.least_output = config.value("least_output_tokens", o.least_output);
  o.patience = milliseconds_of(config, "budget_wait_seconds", 5);
  o.first_byte = milliseconds_of(config, "first_byte_seconds", 600);
  o.silence = milliseconds_of(config, "silence_seconds", 120);
  o.body_bytes = config.value("body_bytes", o.body_bytes);
  o.retries = config.value("retries", o.retries);
  std::string text(price_table::built_in());
  if (config.contains("prices_file")) {
    auto file = read_text(config["prices_file"].get<std::string>(), "the price table");
    if (!file) return file.error();
    text = std::move(*file);
  }
  auto table = price_table::make(text, config.value("prices", json::array()));
  if (!table) return table.error();
  o.prices = std::move(*table);
  const json providers = config.value("providers", json::object());
  for (const auto& [name, own] : providers.items()) {
    auto p = read_provider(executor, name, own, config);
    if (!p) return p.error();
    o.providers.emplace(name, std::move(*p));
  }
  for (const auto& [name, p] : o.providers)
    for (const auto& other : p->failover)
      if (!o.providers.contains(other) || o.providers.at(other)->kind != p->kind)
        return fail(errc::invalid_argument, "bad_failover",
                    "provider " + name + " names \"" + other + "\" for failover, which is no provider of the same kind",
                    "Name providers of kind " + p->kind + ".", "/providers/" + name + "/failover");
  return o;
}

std::vector<std::map<std::string, std::string>> environment_of(const gateway_options& o) {
  std::vector<std::map<std::string, std::string>> groups;
  if (o.providers.empty()) return groups;
  groups.push_back({{"CAGED_LLM_URL", o.url}, {"CAGED_LLM_TOKEN", "{token}"}});
  const auto has = [&o](std::string_view kind) {
    return std::any_of(o.providers.begin(), o.providers.end(),
                       [kind](const auto& p) { return p.second->kind == kind; });
  };
  if (has("anthropic")) groups.push_back({{"ANTHROPIC_BASE_URL", o.url}, {"ANTHROPIC_API_KEY", "{token}"}});
  // OPENAI_API_BASE is what LiteLLM, and with it Aider, reads.
  if (has("openai"))
    groups.push_back(
        {{"OPENAI_BASE_URL", o.url + "/v1"}, {"OPENAI_API_BASE", o.url + "/v1"}, {"OPENAI_API_KEY", "{token}"}});
  if (has("gemini")) groups.push_back({{"GOOGLE_GEMINI_BASE_URL", o.url}, {"GEMINI_API_KEY", "{token}"}});
  return groups;
}

}  // namespace caged::transport_llm
