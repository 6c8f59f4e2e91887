// What the registry declares is complete and true: schemas compile, fields are described, examples fit.
#include <gtest/gtest.h>

#include <caged/json_schema.hpp>

#include "core/cli/operation_help.hpp"
#include "core/operation/families.hpp"

namespace caged::operation {
namespace {

class catalogue : public testing::Test {
 protected:
  void SetUp() override {
    services_.operations = &operations_;
    services_.config = &config_;
    add_all_operations(services_);
    ASSERT_GT(operations_.list().size(), 50u);
  }
  registry operations_;
  config::host_config config_;
  services services_;
};

TEST_F(catalogue, every_operation_has_an_example_that_fits_its_schemas) {
  for (const auto* info : operations_.list()) {
    EXPECT_FALSE(info->examples.empty()) << info->name << " has no example";
    const auto input = json_schema::compile(info->input);
    ASSERT_TRUE(input.has_value()) << info->name;
    for (const auto& example : info->examples) {
      const auto fits = input->check(example.input);
      EXPECT_TRUE(fits.has_value()) << info->name << ", \"" << example.summary << "\": " << fits.error().message;
      if (info->gives == payload::duplex || info->gives == payload::bytes) continue;
      const auto answer = json_schema::compile(info->output).value().check(example.output);
      EXPECT_TRUE(answer.has_value()) << info->name << ", \"" << example.summary << "\": " << answer.error().message;
    }
  }
}

TEST_F(catalogue, every_field_says_what_it_is) {
  for (const auto* info : operations_.list()) {
    EXPECT_FALSE(info->summary.empty()) << info->name;
    const json fields = info->input.value("properties", json::object());
    for (const auto& [name, schema] : fields.items())
      EXPECT_FALSE(schema.value("description", "").empty()) << info->name << ": the field " << name;
  }
}

TEST_F(catalogue, the_command_line_knows_the_same_operations) {
  const auto known = cli::operation_catalogue();
  ASSERT_EQ(known.size(), operations_.list().size());
  for (const auto* info : operations_.list()) {
    const auto* help = cli::find_operation(info->name);
    ASSERT_NE(help, nullptr) << info->name;
    EXPECT_EQ(help->summary, info->summary);
    EXPECT_EQ(help->route, info->method + " " + info->path);
    EXPECT_EQ(help->scope, to_string(info->needs));
    EXPECT_EQ(help->examples.size(), info->examples.size());
    EXPECT_EQ(help->fields.size(), info->input.value("properties", json::object()).size());
  }
}

TEST_F(catalogue, help_refuses_an_operation_or_field_that_does_not_exist) {
  EXPECT_THROW(cli::help_of("sandbox.nap"), std::logic_error);
  EXPECT_THROW(cli::about("sandbox.pause", "colour"), std::logic_error);
  EXPECT_NE(cli::help_of("sandbox.pause").more.find("POST /v1/sandboxes/{id}/pause"), std::string::npos);
}

}  // namespace
}  // namespace caged::operation
