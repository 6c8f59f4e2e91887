#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <core/base/file.hpp>
#include <core/cli/client_config.hpp>
#include <core/cli/toml_statements.hpp>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

mcp_entry entry(std::string url = {}) { return {"caged", "/opt/a b/caged", {"mcp", "cage-1"}, std::move(url)}; }

std::string toml(const std::string& text, std::string url = {}) {
  auto done = with_entry(mcp_client::codex, text, entry(std::move(url)));
  EXPECT_TRUE(done) << (done ? "" : describe(done.error()));
  if (!done) return {};
  EXPECT_TRUE(toml_statements(*done)) << *done;
  return *done;
}

TEST(ClientConfig, RefusesWhatIsNoJson) {
  for (const char* bad : {"{", "[]", "5", "{\"mcpServers\": []}", "{\"a\":1,}", "// comment\n{}", "{} {}", "\xff"})
    EXPECT_FALSE(with_entry(mcp_client::claude_code, bad, entry())) << bad;
  EXPECT_FALSE(with_entry(mcp_client::vscode, R"({"servers": 1})", entry()));
}

TEST(ClientConfig, RefusesWhatIsNoToml) {
  for (const char* bad :
       {"[a", "a", "a =", "a = \"x", "a = [1, 2", "= 1", "[[a]", "a = { b = 1", "a = '''x", "a b = 1", "a = 1 b = 2",
        "[mcp_servers]\ncaged = 1 2", "a.= 1", "\"a = 1", "a = { b 1 }", "a = [1 2]", "{}"})
    EXPECT_FALSE(with_entry(mcp_client::codex, bad, entry())) << bad;
}

TEST(ClientConfig, AnEmptyFileGetsTheEntryAlone) {
  for (const char* none : {"", " \n\t\n"}) {
    const auto done = with_entry(mcp_client::claude_code, none, entry());
    ASSERT_TRUE(done);
    EXPECT_EQ(json::parse(*done), json::parse(R"({"mcpServers":{"caged":{"type":"stdio","command":"/opt/a b/caged",
                                                  "args":["mcp","cage-1"]}}})"));
  }
  EXPECT_EQ(json::parse(*with_entry(mcp_client::cursor, "", entry("http://h:1"))),
            json::parse(R"({"mcpServers":{"caged":{"command":"/opt/a b/caged","args":["mcp","cage-1"],
                            "env":{"CAGED_API_URL":"http://h:1"}}}})"));
  EXPECT_TRUE(json::parse(*with_entry(mcp_client::vscode, "", entry()))["servers"].contains("caged"));
  EXPECT_EQ(toml(""), "[mcp_servers.\"caged\"]\ncommand = \"/opt/a b/caged\"\nargs = [\"mcp\", \"cage-1\"]\n");
}

TEST(ClientConfig, EverythingElseStaysInItsOrder) {
  const std::string before =
      "{\n    \"z\": 1,\n    \"mcpServers\": {\n        \"other\": {\n            \"url\": \"x\"\n"
      "        }\n    },\n    \"a\": [\n        1.50,\n        null\n    ]\n}\n";
  const auto done = with_entry(mcp_client::claude_code, before, entry());
  ASSERT_TRUE(done);
  EXPECT_THAT(*done,
              StartsWith("{\n    \"z\": 1,\n    \"mcpServers\": {\n        \"other\": {\n            \"url\": \"x\""));
  EXPECT_THAT(*done, HasSubstr("        \"caged\": {"));
  EXPECT_LT(done->find("\"other\""), done->find("\"caged\""));
  EXPECT_LT(done->find("\"caged\""), done->find("\"a\""));
  EXPECT_EQ(*with_entry(mcp_client::claude_code, *done, entry()), *done);
}

TEST(ClientConfig, AnOldEntryIsReplacedButItsSettingsStay) {
  const auto done = with_entry(
      mcp_client::claude_code,
      R"({"mcpServers":{"caged":{"url":"old","command":"old","timeout":9,"env":{"A":"1","CAGED_API_URL":"old"}}}})",
      entry("new"));
  ASSERT_TRUE(done);
  const json now = json::parse(*done)["mcpServers"]["caged"];
  EXPECT_EQ(now["command"], "/opt/a b/caged");
  EXPECT_EQ(now["timeout"], 9);
  EXPECT_EQ(now["env"], json({{"A", "1"}, {"CAGED_API_URL", "new"}}));
  EXPECT_FALSE(now.contains("url"));
  const std::string toml_text = toml(
      "# mine\nmodel = \"m\"\n\n[mcp_servers.caged] # here\ncommand = 'old'\nargs = [\n  \"x\", # y\n]\n"
      "tool_timeout_sec = 9\n\n[mcp_servers.caged.env]\nA = \"1\"\nCAGED_API_URL = \"old\"\n\n[tui]\nx = 1\n",
      "new");
  EXPECT_EQ(toml_text,
            "# mine\nmodel = \"m\"\n\n[mcp_servers.caged] # here\ncommand = \"/opt/a b/caged\"\nargs = [\"mcp\", "
            "\"cage-1\"]\n"
            "tool_timeout_sec = 9\n\n[mcp_servers.caged.env]\nCAGED_API_URL = \"new\"\nA = \"1\"\n\n[tui]\nx = 1\n");
  EXPECT_EQ(toml(toml_text, "new"), toml_text);
}

TEST(ClientConfig, TomlKeepsStringsThatLookLikeTables) {
  const std::string before =
      "text = \"\"\"\n[mcp_servers.caged]\ncommand = 1\n\"\"\"\nother = '''\n[x\n'''\nd = 1979-05-27 07:32:00Z\n"
      "list = [ [1, 2], { a = \"]\" }, ]\r\n\"quoted.key\".b = true";
  const std::string after = toml(before);
  EXPECT_THAT(after, StartsWith(before));
  EXPECT_THAT(
      after,
      EndsWith("\r\n\r\n[mcp_servers.\"caged\"]\r\ncommand = \"/opt/a b/caged\"\r\nargs = [\"mcp\", \"cage-1\"]\r\n"));
  EXPECT_EQ(toml(after), after);
}

TEST(ClientConfig, TomlThatSaysItOtherwiseIsRefused) {
  for (const char* other :
       {"mcp_servers = {}", "[mcp_servers]\ncaged = { command = \"x\" }", "mcp_servers.caged.command = \"x\"",
        "[[mcp_servers.caged]]\ncommand = \"x\"", "[mcp_servers]\ncaged.command = \"x\""}) {
    const auto done = with_entry(mcp_client::codex, other, entry());
    ASSERT_FALSE(done) << other;
    EXPECT_EQ(done.error().reason, "entry_elsewhere") << other;
  }
  EXPECT_FALSE(with_entry(mcp_client::codex, "[mcp_servers.caged]\nenv = { A = \"1\" }\n", entry("u")));
  EXPECT_THAT(toml("[mcp_servers.caged]\nenv = { A = \"1\" }\n"), HasSubstr("env = { A = \"1\" }"));
  EXPECT_THAT(toml(toml("", "old"), "new"), Not(HasSubstr("old")));
}

class ClientConfigFile : public ::testing::Test {
 protected:
  ClientConfigFile() {
    char name[] = "/tmp/caged-config-XXXXXX";
    folder = mkdtemp(name);
  }
  ~ClientConfigFile() override { fs::remove_all(folder); }
  fs::path folder;
};

TEST_F(ClientConfigFile, IsMadeChangedAndBackedUp) {
  const fs::path file = folder / ".cursor" / "mcp.json";
  EXPECT_EQ(write_client_config(mcp_client::cursor, file, entry()).value(), config_change::created);
  EXPECT_EQ(write_client_config(mcp_client::cursor, file, entry()).value(), config_change::none);
  const std::string first = base::read_file(file).value();
  EXPECT_EQ(write_client_config(mcp_client::cursor, file, entry("http://x")).value(), config_change::changed);
  EXPECT_EQ(base::read_file(file.string() + ".caged-backup").value(), first);
}

TEST_F(ClientConfigFile, MalformedIsLeftAloneAndModesAndLinksAreKept) {
  const fs::path real = folder / "real.json", link = folder / "link.json";
  ASSERT_TRUE(base::write_file(real, "{\"mcpServers\": [", 0640));
  fs::create_symlink(real, link);
  const auto refused = write_client_config(mcp_client::claude_code, link, entry());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("was not changed"));
  EXPECT_EQ(base::read_file(real).value(), "{\"mcpServers\": [");
  ASSERT_TRUE(base::write_file(real, "{}", 0640));
  ASSERT_TRUE(write_client_config(mcp_client::claude_code, link, entry()));
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(fs::status(real).permissions(), fs::perms(0640));
  EXPECT_FALSE(write_client_config(mcp_client::claude_code, folder, entry()));
}

}  // namespace
}  // namespace caged::cli
