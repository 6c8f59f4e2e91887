#include <core/cli/server.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FindServer : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "caged-find-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directories(root_ / "config/caged");
    fs::create_directories(root_ / "data");
    search_.data_dir = root_ / "data";
    variables_["XDG_CONFIG_HOME"] = (root_ / "config").string();
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& text, unsigned mode = 0600) {
    std::ofstream(root_ / name) << text;
    fs::permissions(root_ / name, static_cast<fs::perms>(mode));
  }
  void run_local(const std::string& address = "127.0.0.1:4711") {
    write("data/server.json", json({{"pid", ::getpid()}, {"address", address}}).dump());
    write("data/admin.key", "caged_sk_local\n");
  }
  result<endpoint> find() {
    search_.env = [this](std::string_view name) -> std::optional<std::string> {
      const auto it = variables_.find(std::string(name));
      if (it == variables_.end()) return std::nullopt;
      return it->second;
    };
    return find_endpoint(search_);
  }

  fs::path root_;
  server_search search_;
  std::map<std::string, std::string> variables_;
};

TEST_F(FindServer, NoServerSaysHowToStartOne) {
  const auto none = find();
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().reason, "no_local_server");
  EXPECT_THAT(none.error().action, HasSubstr("caged serve --data " + (root_ / "data").string()));
}

TEST_F(FindServer, ADeadServersRecordIsNoServer) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  write("data/server.json", json({{"pid", child}, {"address", "127.0.0.1:1"}}).dump());
  EXPECT_EQ(find().error().reason, "no_local_server");
  for (const char* text :
       {"", "{", "[]", "{\"pid\": 1}", "{\"pid\": \"x\", \"address\": 3}", "{\"pid\": -1, \"address\": \"a:1\"}"}) {
    write("data/server.json", text);
    EXPECT_EQ(find().error().reason, "no_local_server") << text;
  }
}

TEST_F(FindServer, ARecordThatOthersCouldHaveWrittenIsRefused) {
  run_local();
  fs::permissions(root_ / "data/server.json", fs::perms(0666));
  EXPECT_EQ(find().error().reason, "untrusted_file");
  run_local();
  fs::rename(root_ / "data/admin.key", root_ / "data/real");
  fs::create_symlink("real", root_ / "data/admin.key");
  EXPECT_EQ(find().error().reason, "untrusted_file");
}

TEST_F(FindServer, TheLocalServerIsLast) {
  run_local();
  auto local = find();
  ASSERT_TRUE(local.has_value()) << describe(local.error());
  EXPECT_EQ(local->url, "http://127.0.0.1:4711");
  EXPECT_EQ(local->key, "caged_sk_local");

  write("config/caged/config.yaml", "api_url: http://file\napi_key: caged_sk_file\n");
  EXPECT_EQ(find()->url, "http://file");
  variables_["CAGED_API_URL"] = "http://env/";
  variables_["CAGED_API_KEY"] = "caged_sk_env";
  EXPECT_EQ(find()->url, "http://env");
  EXPECT_EQ(find()->key, "caged_sk_env");
  search_.data = search_.data_dir.string();
  EXPECT_EQ(find()->key, "caged_sk_local");
  search_.api_url = "http://flag";
  search_.api_key = "caged_sk_flag";
  EXPECT_EQ(find()->url, "http://flag");
  EXPECT_EQ(find()->key, "caged_sk_flag");
}

TEST_F(FindServer, AKeyIsNeverSentToAnotherServer) {
  run_local();
  write("config/caged/config.yaml", "api_url: http://file\napi_key: caged_sk_file\n");
  search_.api_url = "http://other";
  EXPECT_EQ(find().error().reason, "no_api_key");
  variables_["CAGED_API_URL"] = "http://env";
  variables_["CAGED_API_KEY"] = "caged_sk_env";
  EXPECT_EQ(find().error().reason, "no_api_key");
  search_.api_url = "http://env";
  EXPECT_EQ(find()->key, "caged_sk_env");
  search_.api_url = "http://127.0.0.1:4711";
  EXPECT_EQ(find()->key, "caged_sk_local");
  search_.api_url = "http://file/";
  EXPECT_EQ(find()->key, "caged_sk_file");
}

TEST_F(FindServer, AServerThatDoesNotStartIsTold) {
  const auto failed = start_server("/bin/false", root_ / "fresh/data",
                                   [](std::string_view) -> std::optional<std::string> { return std::nullopt; });
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().reason, "server_start_failed");
  EXPECT_THAT(failed.error().action, HasSubstr("server.log"));
  struct stat info {};
  ASSERT_EQ(::stat((root_ / "fresh/data/server.log").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

}  // namespace
}  // namespace caged::cli
