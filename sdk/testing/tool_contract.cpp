// Kind "tool": adds operations in open(), completely described, whose examples are true.
#include <caged/json_schema.hpp>
#include <caged/testing/contract.hpp>

#include <set>

namespace caged::testing {
namespace {

bool good_operation_name(const std::string& name) {
  static const json_schema schema =
      json_schema::compile({{"pattern", "^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)+$"}}).value();
  return schema.validate(name).empty();
}

void adds_operations(contract_context& c) {
  const auto& offers = c.offers();
  const bool promises = std::find(offers.begin(), offers.end(), "operations") != offers.end();
  c.expect(promises == !c.host().registry().list().empty(),
           promises ? "it offers operations but added none"
                    : "it added operations but does not say so (CAGED_OFFERS_OPERATIONS)");
}

void describes_operations(contract_context& c) {
  static const std::set<std::string> methods = {"GET", "POST", "PUT", "PATCH", "DELETE"};
  for (const operation_info* info : c.host().registry().list()) {
    const auto expect = [&](bool holds, const std::string& what) { c.expect(holds, info->name + ": " + what); };
    expect(good_operation_name(info->name), "the name is not of the form family.verb");
    expect(!info->summary.empty() && info->summary.size() <= 100, "the summary is empty or over 100 characters");
    expect(info->needs != scope::unset, "no scope is set");
    expect(info->input.is_object() && info->input.value("type", json()) == "object",
           "the input schema is not of type object");
    expect(info->success == 204 || info->output.is_object(), "there is no output schema");
    expect(methods.count(info->method) == 1, "the method is \"" + info->method + "\"");
    expect(info->path.rfind("/v1/", 0) == 0, "the path does not begin with /v1/");
    const json properties = info->input.is_object() ? info->input.value("properties", json::object()) : json::object();
    for (std::size_t at = info->path.find('{'); at != std::string::npos; at = info->path.find('{', at + 1)) {
      const std::string name = info->path.substr(at + 1, info->path.find('}', at) - at - 1);
      expect(properties.contains(name), "the path's {" + name + "} is no property of the input");
    }
  }
}

void gives_true_examples(contract_context& c) {
  for (const operation_info* info : c.host().registry().list()) {
    const auto input = json_schema::compile(info->input);
    c.require(input.has_value(), info->name + ": the input schema does not compile");
    for (const operation_example& example : info->examples) {
      const std::string where = info->name + ", example \"" + example.summary + "\": ";
      if (auto fits = input->check(example.input); fits.has_error())
        c.expect(false, where + "input: " + describe(fits.error()));
      if (info->output.is_null() || info->gives != payload::document) continue;
      auto fits = json_schema::compile(info->output).value().check(example.output);
      if (fits.has_error()) c.expect(false, where + "output: " + describe(fits.error()));
    }
  }
}

void answers_its_examples(contract_context& c) {
  int tried = 0;
  auto& registry = c.host().registry();
  for (const operation_info* info : registry.list()) {
    if (!info->read_only || info->takes != payload::document || info->gives != payload::document) continue;
    for (const operation_example& example : info->examples) {
      call request;
      request.operation = info->name;
      request.arguments = example.input;
      request.who.granted = scope::full;
      request.transport = "contract";
      ++tried;
      const auto answer = c.await(registry.invoke(std::move(request)));
      if (answer.has_error()) {
        c.expect(false, info->name + ", example \"" + example.summary + "\": " + describe(answer.error()));
        continue;
      }
      auto fits = json_schema::compile(info->output).value().check(answer->body);
      if (fits.has_error())
        c.expect(false, info->name + ": the answer does not fit its schema: " + describe(fits.error()));
    }
  }
  if (tried == 0) c.skip("no operation that changes nothing has an example");
}

void adds_the_same_again(contract_context& c) {
  const auto names = [&c] {
    std::set<std::string> out;
    for (const operation_info* info : c.host().registry().list()) out.insert(info->name);
    return out;
  };
  const auto before = names();
  c.reopen();
  c.expect(names() == before, "a second life adds other operations");
}

const suite tool_suite("tool", {{"adds the operations it offers", adds_operations},
                                {"describes its operations completely", describes_operations},
                                {"gives examples that fit the schemas", gives_true_examples},
                                {"answers its examples", answers_its_examples},
                                {"adds the same operations in a second life", adds_the_same_again}});

}  // namespace
}  // namespace caged::testing
