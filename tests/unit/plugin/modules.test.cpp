// One broken module per way of failing: what the host says, and that it is left as it was.
#include "tests/unit/plugin/plugin_fixture.hpp"

namespace caged::plugins {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct broken_case {
  std::string module;
  std::string reason;
  std::string message;  // after "plugin <file>: "
  std::string action;
};

void PrintTo(const broken_case& c, std::ostream* out) { *out << c.module; }
std::string case_name(const ::testing::TestParamInfo<broken_case>& info) { return info.param.module; }

// Refused before create(): the message names the file.
class AtTheDoor : public PluginTest, public ::testing::WithParamInterface<broken_case> {};

TEST_P(AtTheDoor, IsRefused) {
  const auto& c = GetParam();
  const fs::path file = module_path(c.module);
  const error e = refusal(file);
  EXPECT_EQ(e.reason, c.reason);
  EXPECT_EQ(e.message, "plugin " + file.string() + ": " + c.message);
  EXPECT_EQ(e.action, c.action);
  ASSERT_EQ(host_->list().size(), 1u);
  EXPECT_EQ(host_->list()[0].at, stage::refused);
  EXPECT_EQ(host_->list()[0].failure->message, e.message);
  EXPECT_FALSE(fs::exists(folder_ / "data")) << "a refused plugin left a data folder";
  expect_unharmed();
}

const std::string use_macro = "Export the descriptor with the CAGED_PLUGIN macro.";
const std::string rebuild = "Build the plugin with this host's SDK.";
const std::string newer = "Use a newer host, or build the plugin with this host's SDK.";
const std::string schema_file = "Correct the file given as SCHEMA to caged_add_plugin().";

INSTANTIATE_TEST_SUITE_P(
    Modules, AtTheDoor,
    ::testing::Values(
        broken_case{"symbol_missing", "plugin_symbol_missing",
                    "it exports no symbol caged_plugin_v1, so it is no Caged plugin",
                    "Add the CAGED_PLUGIN macro to one of its source files."},
        broken_case{"magic_wrong", "plugin_magic", "the descriptor begins with 0x1234, expected 0x314c504445474143",
                    use_macro},
        broken_case{"size_small", "plugin_size", "the descriptor has 40 bytes, expected at least 112", rebuild},
        broken_case{"abi_newer", "plugin_abi", "the descriptor has layout 2, this host reads layout 1", newer},
        broken_case{"field_null", "plugin_field_missing", "the descriptor's field create is null", use_macro},
        broken_case{"kind_unknown", "plugin_kind",
                    "the kind is \"wizard\", expected one of storage, billing, vmm, tool, transport",
                    "Derive the plugin class from an interface of this host's SDK."},
        broken_case{
            "name_bad", "plugin_name",
            "the name is \"../Etc\", expected 1 to 32 lower-case letters, digits and dashes, beginning with a letter",
            "Correct NAME in caged_add_plugin()."},
        broken_case{"event_schema_newer", "plugin_event_schema",
                    "it was built against event catalogue 999, this host has 1", newer},
        broken_case{"needs_unknown", "plugin_needs_unknown",
                    "it needs services this host does not know (bits 0x8000000000000000)", "Use a newer host."},
        broken_case{
            "schema_not_json", "plugin_config_schema",
            "the configuration schema is malformed: the text is not JSON at line 1, column 2: syntax error while "
            "parsing object key - invalid literal; last read: '{o'; expected string literal",
            schema_file},
        broken_case{
            "schema_malformed", "plugin_config_schema",
            "the configuration schema is refused: the schema is malformed: none of the alternatives fits: found the "
            "string \"strng\", expected one of \"array\", \"boolean\", \"integer\", \"null\", \"number\", \"object\", "
            "\"string\"; did you mean \"string\"?; or: found the string \"strng\", expected an array",
            schema_file},
        broken_case{"schema_not_object", "plugin_config_schema",
                    "the configuration schema does not say \"type\": \"object\"", schema_file}),
    case_name);

// Each piece of the fingerprint alone: the refusal names piece, found, expected and what to do.
class Fingerprint : public PluginTest, public ::testing::WithParamInterface<broken_case> {};

TEST_P(Fingerprint, IsComparedPieceByPiece) {
  const auto& c = GetParam();
  const error e = refusal(module_path("fingerprint_" + c.module));
  EXPECT_EQ(e.reason, "plugin_fingerprint");
  EXPECT_THAT(e.message, HasSubstr(": the " + c.message + " differs: found \"other\", expected \""));
  EXPECT_EQ(e.message.find(';'), std::string::npos) << "one piece differs: " << e.message;
  EXPECT_THAT(e.action, StartsWith(c.action));
  expect_unharmed();
}

INSTANTIATE_TEST_SUITE_P(
    Modules, Fingerprint,
    ::testing::Values(broken_case{"sdk", "", "SDK version", "Build the plugin against caged-sdk 0.1.0"},
                      broken_case{"cxx", "", "C++ standard", "Compile the plugin with the C++ standard 202002L"},
                      broken_case{"compiler", "", "compiler", "Compile the plugin with "},
                      broken_case{"stdlib", "", "standard library", "Compile the plugin against libstdc++-"},
                      broken_case{"boost", "", "Boost version", "Build the plugin with Boost 1_"},
                      broken_case{"asio", "", "Asio linkage", "Link the plugin with the CMake target caged::sdk"},
                      broken_case{"json", "", "nlohmann-json version", "Build the plugin with nlohmann-json 3."},
                      broken_case{"sanitizer", "", "sanitizer",
                                  "Compile the plugin with the host's sanitizer setting: "}),
    case_name);

// Fails in create(): the message names plugin and step.
class InCreate : public PluginTest, public ::testing::WithParamInterface<broken_case> {};

TEST_P(InCreate, IsRefused) {
  const auto& c = GetParam();
  const error e = refusal(module_path(c.module));
  EXPECT_EQ(e.reason, c.reason);
  EXPECT_EQ(e.message, "plugin tool.broken: " + c.message);
  EXPECT_FALSE(e.action.empty());
  EXPECT_EQ(host_->find<tool>(), nullptr);
  EXPECT_FALSE(fs::exists(folder_ / "data/plugins/tool.broken")) << "a refused plugin left its data folder";
  expect_unharmed();
}

INSTANTIATE_TEST_SUITE_P(
    Modules, InCreate,
    ::testing::Values(
        broken_case{"create_errors", "plugin_create_failed", "create failed: no such colour", ""},
        broken_case{"create_silent", "plugin_create_failed", "create failed without a reason", ""},
        broken_case{"create_null", "plugin_create_failed", "create answered success but made no plugin", ""},
        broken_case{"create_long_reason", "plugin_create_failed", "create failed: " + std::string(2047, 'x'), ""},
        broken_case{"create_leaks_exception", "plugin_create_failed",
                    "create failed: an exception came through the door, which a descriptor must not let happen", ""},
        broken_case{"create_hangs", "plugin_late",
                    "create took longer than its deadline of 300 ms; its thread is abandoned", ""},
        broken_case{"interface_missing", "plugin_interface_missing",
                    "it says it is of kind tool but has no interface caged.tool.v1", ""}),
    case_name);

TEST_F(PluginTest, RefusesAKindWithoutItsInterface) {
  const error e = refusal(module_path("kind_unfounded"));
  EXPECT_EQ(e.message, "plugin vmm.broken: it says it is of kind vmm but has no interface caged.vmm.v1");
}

// Fails in a later step: taken out, closed where it can be, and nobody else suffers.
class InAStep : public PluginTest, public ::testing::WithParamInterface<broken_case> {};

TEST_P(InAStep, IsTakenOut) {
  const auto& c = GetParam();
  auto loaded = host_->load(module_path(c.module), {});
  ASSERT_TRUE(loaded.has_value()) << describe(loaded.error());
  std::optional<error> first;
  for (const auto step :
       {&plugin_host::open_all, &plugin_host::serve_all, &plugin_host::drain_all, &plugin_host::close_all}) {
    const auto answer = (host_.get()->*step)();
    if (answer.has_error() && !first) first = answer.error();
  }
  ASSERT_TRUE(first.has_value()) << "nothing failed";
  EXPECT_EQ(first->reason, c.reason);
  EXPECT_EQ(first->message, "plugin tool.broken: " + c.message);
  EXPECT_FALSE(first->action.empty());
  EXPECT_EQ(host_->find<tool>(), nullptr);
  ASSERT_EQ(host_->list().size(), 1u);
  EXPECT_EQ(host_->list()[0].at, stage::refused);
  EXPECT_THAT(log_, HasSubstr(c.message));
  if (c.module.find("blocks") != std::string::npos) std::this_thread::sleep_for(700ms);  // until the loop is free again
  expect_unharmed();
}

INSTANTIATE_TEST_SUITE_P(
    Modules, InAStep,
    ::testing::Values(
        broken_case{"open_throws", "plugin_threw", "open threw: the open is broken", ""},
        broken_case{"open_throws_odd", "plugin_threw", "open threw: an exception that is no std::exception", ""},
        broken_case{"open_errors", "broken_on_purpose", "open failed: the open is broken", ""},
        broken_case{"open_awaits", "plugin_late", "open took longer than its deadline of 300 ms and was cancelled", ""},
        broken_case{"open_deaf", "plugin_late",
                    "open took longer than its deadline of 300 ms and ignores cancellation; it is abandoned", ""},
        broken_case{"open_blocks", "plugin_late",
                    "open took longer than its deadline of 300 ms and blocks a thread of the host", ""},
        broken_case{"serve_throws", "plugin_threw", "serve threw: the serve is broken", ""},
        broken_case{"serve_errors", "broken_on_purpose", "serve failed: the serve is broken", ""},
        broken_case{"serve_awaits", "plugin_late", "serve took longer than its deadline of 300 ms and was cancelled",
                    ""},
        broken_case{"serve_deaf", "plugin_late",
                    "serve took longer than its deadline of 300 ms and ignores cancellation; it is abandoned", ""},
        broken_case{"drain_throws", "plugin_threw", "drain threw: the drain is broken", ""},
        broken_case{"drain_errors", "broken_on_purpose", "drain failed: the drain is broken", ""},
        broken_case{"drain_awaits", "plugin_late", "drain took longer than its deadline of 300 ms and was cancelled",
                    ""},
        broken_case{"close_throws", "plugin_threw", "close threw: the close is broken", ""},
        broken_case{"close_errors", "broken_on_purpose", "close failed: the close is broken", ""},
        broken_case{"close_awaits", "plugin_late", "close took longer than its deadline of 300 ms and was cancelled",
                    ""},
        broken_case{"close_deaf", "plugin_late",
                    "close took longer than its deadline of 300 ms and ignores cancellation; it is abandoned", ""}),
    case_name);

TEST_F(PluginTest, RefusesAMissingService) {
  ASSERT_TRUE(host_->load(module_path("needs_missing"), {}).has_value());
  const auto opened = host_->open_all();
  ASSERT_TRUE(opened.has_error());
  EXPECT_EQ(opened.error().reason, "plugin_service_missing");
  EXPECT_EQ(opened.error().message,
            "plugin tool.broken: it needs the service caged.storage.v1 (\"storage\"), which this host does not have");
  expect_unharmed();
}

TEST_F(PluginTest, OpensWhenTheServiceIsThere) {
  int anything = 0;
  host_->add_service("caged.storage.v1", &anything);
  ASSERT_TRUE(host_->load(module_path("needs_missing"), {}).has_value());
  EXPECT_TRUE(host_->open_all().has_value());
}

TEST_F(PluginTest, RefusesASecondOfTheSameName) {
  ASSERT_TRUE(host_->load(module_path("good"), {}).has_value());
  const error e = refusal(module_path("good_twin"));
  EXPECT_EQ(e.reason, "plugin_name_taken");
  EXPECT_EQ(e.message, "plugin " + module_path("good_twin").string() + ": a plugin tool.good is loaded already");
  EXPECT_EQ(host_->list().size(), 2u);
}

TEST_F(PluginTest, NamesTheMissingLibrary) {
  const error e = refusal(module_path("library_missing"));
  EXPECT_EQ(e.reason, "plugin_library_missing");
  EXPECT_EQ(e.message,
            "plugin " + module_path("library_missing").string() +
                ": a library it needs is not there: libcaged-test-absent.so: cannot open shared object file: "
                "No such file or directory");
}

TEST_F(PluginTest, NamesTheUndefinedSymbol) {
  const error e = refusal(module_path("symbol_undefined"));
  EXPECT_EQ(e.reason, "plugin_symbol_undefined");
  EXPECT_THAT(e.message, HasSubstr("undefined symbol: caged_test_defined_nowhere"));
}

}  // namespace
}  // namespace caged::plugins
