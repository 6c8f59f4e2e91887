// Which files and folders are admitted, and configuration, services and the public lists of the host.
#include <unistd.h>

#include "tests/unit/plugin/plugin_fixture.hpp"

extern "C" const caged_plugin_descriptor caged_plugin_v1_tool_hello;

namespace caged::plugins {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Files : public PluginTest {
 protected:
  fs::path write_file(const std::string& name, const std::string& content) {
    const fs::path file = folder_ / name;
    std::ofstream(file, std::ios::binary) << content;
    ::chmod(file.c_str(), 0644);
    return file;
  }
};

TEST_F(Files, RefusesWhatIsNotThere) {
  const error e = refusal(folder_ / "none.so");
  EXPECT_EQ(e.code, errc::not_found);
  EXPECT_THAT(e.message, HasSubstr("none.so: find it: No such file or directory"));
}

TEST_F(Files, RefusesWhatIsNoLibrary) {
  const fs::path text =
      write_file("text.so", "#!/bin/sh\necho I am not a plugin, but I am long enough to be a header\n");
  EXPECT_EQ(refusal(text).message, "plugin " + text.string() + ": it is not an ELF file");
  const fs::path empty = write_file("empty.so", "");
  EXPECT_EQ(refusal(empty).message, "plugin " + empty.string() + ": it is not an ELF file");
  EXPECT_EQ(refusal(folder_).message, "plugin " + folder_.string() + ": it is not a regular file");
  EXPECT_EQ(refusal("/proc/self/exe").reason, "plugin_symbol_missing") << "a program is an ELF file without the symbol";
}

TEST_F(Files, RefusesATruncatedLibraryAtEveryLength) {
  std::ifstream in(module_path("good"), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  for (const std::size_t length :
       {std::size_t{5}, std::size_t{63}, std::size_t{64}, std::size_t{400}, whole.size() / 2, whole.size() - 100}) {
    const error e = refusal(write_file("cut.so", whole.substr(0, length)));
    EXPECT_EQ(e.reason, "plugin_not_a_library") << length;
    EXPECT_THAT(e.message, HasSubstr("it is truncated: it ")) << length;
  }
  std::string foreign = whole;
  foreign[18] = 0x28;  // e_machine: ARM
  EXPECT_THAT(refusal(write_file("arm.so", foreign)).message, HasSubstr("it is built for another machine"));
}

TEST_F(Files, RefusesAWritableFileOrFolder) {
  const fs::path file = copy_of("good");
  ::chmod(file.c_str(), 0664);
  const error e = refusal(file);
  EXPECT_EQ(e.code, errc::permission_denied);
  EXPECT_EQ(e.reason, "plugin_writable");
  EXPECT_EQ(e.message, "plugin " + file.string() + ": the file " + file.string() +
                           " has mode 0664, which lets group or others change it");
  EXPECT_EQ(e.action, "Take the right away: chmod go-w '" + file.string() + "'");
  ::chmod(file.c_str(), 0646);
  EXPECT_EQ(refusal(file).reason, "plugin_writable");

  ::chmod(file.c_str(), 0644);
  ::chmod(folder_.c_str(), 0775);
  EXPECT_THAT(refusal(file).message, HasSubstr("the folder " + folder_.string() + " has mode 0775"));
  EXPECT_EQ(host_->discover(folder_).error().reason, "plugin_writable");
  ::chmod(folder_.c_str(), 0755);
  EXPECT_TRUE(host_->load(file, {}).has_value());
}

TEST_F(Files, LooksThroughLinks) {
  const fs::path bad = folder_ / "bad";
  fs::create_directory(bad);
  const fs::path file = bad / "good.so";
  fs::copy_file(module_path("good"), file);
  ::chmod(file.c_str(), 0666);
  fs::create_symlink(file, folder_ / "link.so");
  EXPECT_EQ(refusal(folder_ / "link.so").reason, "plugin_writable");
}

TEST_F(Files, RefusesAFolderAboveThatEveryoneMayWrite) {
  const fs::path inner = folder_ / "open" / "plugins";
  fs::create_directories(inner);
  ::chmod((folder_ / "open").c_str(), 0777);
  ::chmod(inner.c_str(), 0755);
  fs::copy_file(module_path("good"), inner / "good.so");
  ::chmod((inner / "good.so").c_str(), 0644);
  EXPECT_THAT(refusal(inner / "good.so").message, HasSubstr("which lets everyone replace what lies in it"));
}

TEST_F(Files, RefusesAnotherUsersFile) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving a file to another user needs root";
  const fs::path file = copy_of("good");
  ASSERT_EQ(::chown(file.c_str(), 4711, 4711), 0);
  const error e = refusal(file);
  EXPECT_EQ(e.reason, "plugin_owner");
  EXPECT_THAT(e.message, HasSubstr("belongs to user 4711, expected root or user 0"));
}

TEST_F(Files, DiscoversPluginsByName) {
  for (const char* name : {"caged-tool-b.so", "caged-tool-a.so", "other.so", "caged-notes.txt"}) write_file(name, "x");
  const auto found = host_->discover(folder_);
  ASSERT_TRUE(found.has_value());
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].filename(), "caged-tool-a.so");
  EXPECT_EQ(host_->discover(folder_ / "none").error().code, errc::not_found);
}

TEST_F(Files, InspectsWithoutMaking) {
  const auto s = host_->inspect(module_path("create_hangs"));
  ASSERT_TRUE(s.has_value());
  EXPECT_EQ(s->name, "broken");
  EXPECT_EQ(s->at, stage::mapped);
  EXPECT_EQ(s->config_schema["properties"]["colour"]["default"], "red");
  EXPECT_TRUE(host_->list().empty());
  EXPECT_EQ(host_->inspect(module_path("magic_wrong")).error().reason, "plugin_magic");
}

TEST_F(Files, RefusesConfigurationThatDoesNotFit) {
  const error e = refusal(module_path("good"), {{"colour", "gren"}});
  EXPECT_EQ(e.code, errc::invalid_argument);
  EXPECT_EQ(e.reason, "plugin_config_invalid");
  EXPECT_EQ(e.path, "/plugins/tool/good/colour");
  EXPECT_EQ(
      e.message,
      "plugin tool.good: the configuration does not fit: found the string \"gren\", expected one of \"red\", \"blue\"");
  EXPECT_EQ(e.action, "Correct /plugins/tool/good/colour; `caged plugins schema tool.good` shows what fits.");
  const error unknown = refusal(module_path("good"), {{"color", "red"}});
  EXPECT_THAT(unknown.message, HasSubstr("the property \"color\" is not known here"));
  EXPECT_EQ(refusal(module_path("good"), json::array()).path, "/plugins/tool/good");
  EXPECT_TRUE(host_->load(module_path("good"), {{"colour", "blue"}}).has_value());
}

TEST_F(Files, AdoptsABuiltInPluginAndReportsIt) {
  EXPECT_EQ(host_->adopt(caged_plugin_v1_tool_hello, {{"greeting", ""}}).error().path, "/plugins/tool/hello/greeting");
  ASSERT_TRUE(host_->adopt(caged_plugin_v1_tool_hello, {}).has_value());
  const auto list = host_->list();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "hello");
  EXPECT_EQ(list[0].at, stage::configured);
  EXPECT_EQ(list[0].path, "");
  EXPECT_THAT(list[0].needs, ElementsAre("operations"));
  EXPECT_THAT(list[0].offers, ElementsAre("operations"));
  const json shown = to_json(list[0]);
  EXPECT_EQ(shown["state"], "configured");
  EXPECT_EQ(shown["kind"], "tool");
  EXPECT_EQ(to_json(list[1])["error"]["reason"], "plugin_config_invalid");
  // The folder it is given: there, and its own.
  struct stat st {};
  ASSERT_EQ(::stat((folder_ / "data/plugins/tool.hello").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  caged_plugin_descriptor spoiled = caged_plugin_v1_tool_hello;
  spoiled.abi = 7;
  EXPECT_EQ(host_->adopt(spoiled, {}).error().message,
            "plugin built into the program: the descriptor has layout 7, this host reads layout 1");
}

TEST_F(Files, FindsServicesByNameOnlyWhileOpen) {
  int service = 0;
  host_->add_service("caged.test.v1", &service);
  EXPECT_EQ(host_->find_service("caged.test.v1"), &service);
  EXPECT_EQ(host_->find_service("caged.none.v1"), nullptr);
  EXPECT_EQ(host_->find_service(std::string(1000, 'x')), nullptr);
  ASSERT_TRUE(host_->load(module_path("good"), {}).has_value());
  EXPECT_EQ(host_->find<tool>(), nullptr) << "not open yet";
  ASSERT_TRUE(host_->open_all().has_value());
  EXPECT_NE(host_->find<tool>(), nullptr);
  EXPECT_NE(host_->find<tool>("good"), nullptr);
  EXPECT_EQ(host_->find<tool>("other"), nullptr);
  ASSERT_TRUE(host_->close_all().has_value());
  ASSERT_TRUE(host_->close_all().has_value()) << "closing twice is closing once";
  EXPECT_EQ(host_->find<tool>(), nullptr);
  EXPECT_EQ(host_->list()[0].at, stage::closed);
  EXPECT_TRUE(host_->load(module_path("good"), {}).has_value()) << "a closed plugin may be loaded again";
  EXPECT_EQ(host_->list().size(), 1u);
}

TEST_F(Files, OneBadPluginDoesNotStopTheOthers) {
  ASSERT_TRUE(host_->load(module_path("open_errors"), {}).has_value());
  ASSERT_TRUE(host_->load(module_path("good"), {}).has_value());
  const auto opened = host_->open_all();
  ASSERT_TRUE(opened.has_error());
  EXPECT_EQ(opened.error().message, "plugin tool.broken: open failed: the open is broken");
  EXPECT_NE(host_->find<tool>("good"), nullptr);
  EXPECT_TRUE(host_->serve_all().has_value());
}

}  // namespace
}  // namespace caged::plugins
