// Untrusted text through everything that reads it: the shell reader, patterns, the trust and command policies.
#include <core/policy/pattern.hpp>
#include <core/policy/policy_engine.hpp>
#include <core/policy/shell_parser.hpp>
#include <cstdlib>

namespace {

using namespace caged;
using namespace caged::policy;

policy_engine& engine() {
  static const auto loaded = [] {
    engine_options options;
    options.roots = {std::filesystem::path(CAGED_SOURCE_DIR) / "policies"};
    options.policies = {{"trust", json::object(), ""}, {"command", json::object(), ""}};
    options.limits.time = std::chrono::seconds(5);  // a sanitizer's clock is no measure
    auto made = policy_engine::load(options);
    if (!made) std::abort();
    return std::move(*made);
  }();
  return *loaded;
}

void must_not_fail(const verdict& v) {
  for (const auto& f : v.failures) {
    if (f.reason != "policy_budget") std::abort();  // an attacker's text may be dear, it may not break a policy
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto script = shell::parse(text);
  if (auto output = shell::static_output(script)) shell::parse(*output);

  const auto middle = text.find('\n');
  if (middle != std::string::npos) {
    const std::string subject = text.substr(0, middle), pattern = text.substr(middle + 1);
    std::int64_t steps = 20'000;
    try {
      pattern_matcher matcher(subject, pattern, steps);
      matcher.match_at(subject.data());
    } catch (const pattern_error&) {
      // malformed or too dear: both are answers
    }
  }

  event e;
  e.session_id = "fuzz";
  e.type = "command";
  e.data = {{"command", text}, {"source", "rest"}};
  must_not_fail(engine().gate(e, json::object()));
  must_not_fail(engine().observe(e, json::object()));
  e.type = "file_op";
  e.data = {{"operation", size % 2 == 0 ? "read" : "write"}, {"path", text}};
  must_not_fail(engine().observe(e, json::object()));
  e.type = "network";
  e.data = {{"operation", "connect"}, {"host", text}, {"port", 443}};
  must_not_fail(engine().observe(e, json::object()));
  engine().forget("fuzz");
  return 0;
}
