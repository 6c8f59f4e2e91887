// The smallest useful plugin: a tool that adds one operation, hello.greet, to REST, MCP and the CLI at once.
#include <caged/define_plugin.hpp>
#include <caged/operation.hpp>

namespace caged::tool_hello {
namespace {

operation_info greet_info() {
  operation_info info;
  info.name = "hello.greet";
  info.summary = "Greet someone by name";
  info.description = "Answers a greeting. Shows how a plugin adds an operation.";
  info.needs = scope::read;
  info.input = json::parse(R"({"type":"object","additionalProperties":false,"required":["name"],
    "properties":{"name":{"type":"string","minLength":1,"maxLength":100,"description":"Whom to greet"}}})");
  info.output = json::parse(R"({"type":"object","additionalProperties":false,"required":["text"],
    "properties":{"text":{"type":"string","description":"The greeting"}}})");
  info.method = "POST";
  info.path = "/v1/hello";
  info.read_only = true;
  info.idempotent = true;
  info.examples = {{"Greet Ada", {{"name", "Ada"}}, {{"text", "Hello, Ada!"}}}};
  return info;
}

// The arguments fit greet_info().input: the registry checked them before it called.
task<reply> greet(std::string greeting, call c) {
  reply answer;
  answer.body = {{"text", greeting + ", " + c.arguments.at("name").get<std::string>() + "!"}};
  co_return answer;
}

}  // namespace

class hello : public tool {
 public:
  hello(host& h, const json& config) : host_(h), greeting_(config.at("greeting").get<std::string>()) {}

  task<void> open() override {
    auto* registry = host_.service<operations>();
    if (registry == nullptr) {
      co_return fail(errc::unavailable, "service_missing", "the host has no operation registry",
                     "Load this plugin into a host that serves caged.operations.v1.");
    }
    co_return registry->add(greet_info(), [greeting = greeting_](call c) { return greet(greeting, std::move(c)); });
  }

 private:
  host& host_;
  std::string greeting_;
};

}  // namespace caged::tool_hello

CAGED_PLUGIN(caged::tool_hello::hello, .summary = "Adds the operation hello.greet, as an example",
             .offers = CAGED_OFFERS_OPERATIONS, .needs = CAGED_NEEDS_OPERATIONS)
