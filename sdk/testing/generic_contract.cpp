// What every plugin promises, whatever its kind: manifest, configuration, life.
#include <caged/testing/contract.hpp>
#include <iterator>

#include "core/plugin/plugin_host.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

std::ptrdiff_t entries(const char* folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

void life(contract_context& c, std::initializer_list<const char*> steps) {
  c.require_ok(c.load(c.options().config), "load");
  for (const char* step : steps) c.require_ok(c.step(step), step);
}

void refuses_unknown_configuration(contract_context& c) {
  json config = c.options().config.is_object() ? c.options().config : json::object();
  config["caged_contract_unknown"] = 1;
  const auto answer = c.load(std::move(config));
  c.require(answer.has_error(),
            "a property that the schema does not know was accepted; say \"additionalProperties\": false");
  c.expect(answer.error().reason == "plugin_config_invalid", "refused, but with " + describe(answer.error()));
}

void refuses_configuration_of_the_wrong_type(contract_context& c) {
  c.expect(c.load(json::array()).has_error(), "an array was accepted as configuration");
}

void refuses_the_bad_configuration(contract_context& c) {
  if (!c.options().bad_config) c.skip("no bad configuration was given");
  auto answer = c.load(*c.options().bad_config);
  if (answer.has_value()) answer = c.step("open");
  c.require(answer.has_error(), "the bad configuration was accepted");
  c.expect(!answer.error().action.empty(), "the refusal does not say what to do");
}

void lives(contract_context& c) { life(c, {"open", "serve", "drain", "close"}); }
void closes_without_opening(contract_context& c) { life(c, {"close"}); }
void closes_without_serving(contract_context& c) { life(c, {"open", "close"}); }
void closes_without_draining(contract_context& c) { life(c, {"open", "serve", "close"}); }

// A second close() must do no harm: the host calls it after a failed open() too.
void closes_twice(contract_context& c) {
  plugin& one = c.object();
  c.require_ok(c.await(one.close()), "close");
  c.require_ok(c.await(one.close()), "close a second time");
}

void describes_itself(contract_context& c) {
  const std::string& summary = c.summary();
  c.expect(!summary.empty(), "the summary is empty; say .summary = \"…\" in CAGED_PLUGIN");
  c.expect(summary.size() <= 120 && summary.find('\n') == std::string::npos,
           "the summary is longer than one line of 120");
  const json properties = c.config_schema().value("properties", json::object());
  for (const auto& [name, property] : properties.items())
    c.expect(property.is_object() && property.contains("description"),
             "the property \"" + name + "\" of the configuration schema has no description");
}

void lives_twice_and_leaks_nothing(contract_context& c) {
  life(c, {"open", "serve"});
  c.reopen();
  c.close();
  const auto files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
  c.host().registry().clear();
  c.require_ok(c.load(c.options().config), "load again");
  for (const char* step : {"open", "serve", "drain", "close"}) c.require_ok(c.step(step), step);
  c.expect(entries("/proc/self/fd") <= files, "a life leaves file descriptors open");
  c.expect(entries("/proc/self/task") <= threads, "a life leaves threads running");
}

const suite generic("", suite::start::unloaded,
                    {{"goes through its life", lives},
                     {"refuses unknown configuration", refuses_unknown_configuration},
                     {"refuses configuration of the wrong type", refuses_configuration_of_the_wrong_type},
                     {"refuses the bad configuration", refuses_the_bad_configuration},
                     {"closes without having opened", closes_without_opening},
                     {"closes without having served", closes_without_serving},
                     {"closes without having drained", closes_without_draining},
                     {"describes itself and its configuration", describes_itself},
                     {"lives again, and leaves neither descriptors nor threads", lives_twice_and_leaks_nothing}});

const suite served("", suite::start::serving, {{"closes a second time without harm", closes_twice}});

}  // namespace
}  // namespace caged::testing
