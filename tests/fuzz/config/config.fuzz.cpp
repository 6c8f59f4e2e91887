// The configuration parsers on anything at all. The first byte chooses: 'h' host, 'c' client, else .caged.yaml.
#include <core/config/client_config.hpp>
#include <core/config/host_config.hpp>
#include <core/config/sandbox_file.hpp>
#include <core/config/yaml.hpp>

#include <cstdlib>

using namespace caged;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

// A refusal always says where and why.
void must_explain(const error& e) {
  must(!e.reason.empty() && !e.message.empty() && e.message.rfind("f.yaml", 0) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const config::environment env = [](std::string_view name) -> std::optional<std::string> {
    if (name == "SET") return "value";
    return std::nullopt;
  };
  if (data[0] == 'h') {
    const auto parsed = config::parse_host_config(text, "f.yaml");
    if (!parsed) must_explain(parsed.error());
    return 0;
  }
  if (data[0] == 'c') {
    const auto parsed = config::parse_client_config(text, "f.yaml");
    if (!parsed) must_explain(parsed.error());
    return 0;
  }
  auto parsed = config::parse_sandbox_file(text, "f.yaml", "/project", env);
  if (parsed) {
    if (parsed->settle()) must(parsed->body().is_object());
  } else {
    must_explain(parsed.error());
  }
  // What is written is read back as the same document.
  if (const auto tree = config::parse_yaml(text, "f.yaml")) {
    const json value = config::to_json(*tree);
    const std::string written = config::to_yaml(value);
    if (const auto again = config::parse_yaml(written, "again")) must(config::to_json(*again) == value);
  }
  return 0;
}
