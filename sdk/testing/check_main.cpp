// caged-plugin-check: loads a plugin the way the host does and runs the contract of its kind.
#include <caged/testing/contract.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

namespace {

constexpr const char* usage =
    "usage: caged-plugin-check [--config FILE] [--bad-config FILE] [--filter TEXT] [--deadline SECONDS] PLUGIN.so\n"
    "Loads the plugin as the host does and runs the contract of its kind.\n"
    "  --config FILE      its configuration, JSON\n"
    "  --bad-config FILE  a configuration that it must refuse, JSON\n"
    "  --filter TEXT      only checks whose name contains TEXT\n"
    "  --deadline SECONDS how long one call may take, 10 when not given\n"
    "Exit status: 0 all passed, 1 a check failed, 2 the plugin could not be loaded or the command is wrong.\n";

int wrong(const std::string& what) {
  std::cerr << "caged-plugin-check: " << what << "\n" << usage;
  return 2;
}

caged::result<caged::json> read_json(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return caged::fail(caged::errc::not_found, "no_such_file", "cannot read " + file, "Correct the path.");
  return caged::parse_json(std::string((std::istreambuf_iterator<char>(in)), {}));
}

}  // namespace

int main(int argc, char** argv) {
  caged::testing::contract_options options;
  std::string plugin;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") {
      std::cout << usage;
      return 0;
    }
    if (word.rfind("--", 0) != 0) {
      if (!plugin.empty()) return wrong("two plugins are given: " + plugin + " and " + word);
      plugin = word;
      continue;
    }
    if (word != "--config" && word != "--bad-config" && word != "--filter" && word != "--deadline") return wrong("unknown option " + word);
    if (++i == argc) return wrong(word + " needs a value");
    if (word == "--filter") {
      options.filter = argv[i];
      continue;
    }
    if (word == "--deadline") {
      const std::string text = argv[i];
      if (text.empty() || text.size() > 4 || text.find_first_not_of("0123456789") != std::string::npos || text == "0")
        return wrong("--deadline is \"" + text + "\", expected 1 to 9999 seconds");
      options.deadline = std::chrono::seconds(std::stoi(text));
      continue;
    }
    auto value = read_json(argv[i]);
    if (value.has_error()) return wrong(word + ": " + caged::describe(value.error()));
    if (word == "--config")
      options.config = std::move(*value);
    else
      options.bad_config = std::move(*value);
  }
  if (plugin.empty()) return wrong("no plugin is given");
  const auto report = caged::testing::run_contract(std::filesystem::path(plugin), options);
  if (report.has_error()) {
    std::cerr << "caged-plugin-check: " << caged::describe(report.error()) << "\n";
    return 2;
  }
  std::cout << report->text();
  if (report->checks.empty())
    std::cerr << "caged-plugin-check: no check has \"" << options.filter << "\" in its name\n";
  return report->passed() ? 0 : 1;
}
