// The policies' own tests (x_test.lua) and the catalogue in policies/README.md.
#include <gtest/gtest.h>

#include <core/policy/event_catalogue.hpp>
#include <core/policy/policy_tools.hpp>
#include <fstream>
#include <iterator>

namespace caged::policy {
namespace {

const std::filesystem::path source_dir = CAGED_SOURCE_DIR;

TEST(shipped_policies, every_policy_loads) {
  const json list = list_policies({source_dir / "policies"});
  ASSERT_GE(list.size(), 4u);
  for (const auto& item : list) EXPECT_FALSE(item.contains("problem")) << item.dump(2);
}

TEST(shipped_policies, own_tests_pass) {
  const json report = run_policy_tests({source_dir / "policies"});
  for (const auto& file : report["files"]) {
    EXPECT_FALSE(file.contains("error")) << file["file"] << ": " << file.value("error", "");
    for (const auto& test : file["tests"]) {
      EXPECT_TRUE(test["passed"].get<bool>())
          << file["file"] << ": " << test["name"] << ": " << test.value("message", "");
    }
  }
  EXPECT_EQ(report["failed"], 0);
  EXPECT_GE(report["passed"].get<int>(), 40);
}

TEST(shipped_policies, every_policy_and_module_has_a_test) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source_dir / "policies")) {
    const auto stem = entry.path().stem().string();
    if (entry.path().extension() != ".lua" || stem.ends_with("_test")) continue;
    EXPECT_TRUE(std::filesystem::exists(entry.path().parent_path() / (stem + "_test.lua"))) << entry.path();
  }
}

TEST(shipped_policies, readme_holds_the_catalogue) {
  std::ifstream in(source_dir / "policies" / "README.md");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const std::string expected = "<!-- catalogue -->\n" + catalogue_markdown() + "<!-- end of catalogue -->";
  EXPECT_NE(text.find(expected), std::string::npos)
      << "policies/README.md is out of date. Between its catalogue markers must stand:\n"
      << catalogue_markdown();
}

}  // namespace
}  // namespace caged::policy
