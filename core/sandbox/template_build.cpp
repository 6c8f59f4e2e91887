// Where a template's files come from: the machine's own package sources, an image's archive, a folder.
#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <caged/owned_fd.hpp>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "core/base/file.hpp"
#include "core/runtime/subprocess.hpp"
#include "core/sandbox/template_oci.hpp"
#include "core/sandbox/template_store.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds longest{1800};

std::string tail(const std::string& text) { return text.size() <= 2000 ? text : "…" + text.substr(text.size() - 2000); }

// What package managers need to reach their registries the way this machine is set up to.
std::map<std::string, std::string> machine_environment(const template_recipe& r) {
  std::map<std::string, std::string> env{{"SOURCE_DATE_EPOCH", std::to_string(r.epoch)}, {"LC_ALL", "C.UTF-8"}};
  for (const char* name : {"PATH", "HOME", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
                           "NO_PROXY", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "NPM_CONFIG_USERCONFIG", "TMPDIR"})
    if (const char* value = std::getenv(name); value != nullptr) env[name] = value;
  return env;
}

result<void> run(runtime::program p, const std::string& reason, const std::string& what, const std::string& action) {
  p.limit = longest;
  auto done = runtime::run_program(p);
  if (!done && done.error().code == errc::not_found)
    return fail(errc::unsupported, "program_missing", "building needs the program " + p.argv[0] + ", which is missing",
                "Install it: `apt-get install " + p.argv[0] + "`.");
  if (!done) return done.error();
  if (done->exit_code == 0) return {};
  return fail(errc::unavailable, reason, what + " failed: " + tail(done->errors.empty() ? done->output : done->errors),
              action);
}

std::string read_text(const fs::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string machine_suite() {
  const std::string text = read_text("/etc/os-release");
  std::smatch found;
  return std::regex_search(text, found, std::regex("(^|\n)VERSION_CODENAME=\"?([a-z]+)")) ? found[2].str() : "";
}

// The machine's own package sources, turned to another suite where the recipe names one.
result<std::vector<std::string>> package_sources(const template_recipe& r, const fs::path& work,
                                                 const std::string& own) {
  std::vector<fs::path> files;
  std::error_code ec;
  if (fs::file_size("/etc/apt/sources.list", ec) > 0 && !ec) files.push_back("/etc/apt/sources.list");
  for (const auto& e : fs::directory_iterator("/etc/apt/sources.list.d", ec))
    if (e.path().extension() == ".list" || e.path().extension() == ".sources") files.push_back(e.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> out;
  for (const auto& file : files) {
    std::string text = read_text(file);
    // Of several archives only those of the distribution itself: a vendor's has no base system.
    if (!std::regex_search(text, std::regex("\\b" + own + "\\b"))) continue;
    if (r.suite.empty() || r.suite == own) {
      out.push_back(file);
      continue;
    }
    text = std::regex_replace(text, std::regex("\\b" + own + "\\b"), r.suite);
    const fs::path turned = work / file.filename();
    std::ofstream(turned) << text;
    out.push_back(turned);
  }
  if (out.empty())
    return fail(errc::unsupported, "no_package_sources", "this machine has no package sources of Debian or Ubuntu",
                "Build the template from an image or a folder: from: oci, from: folder.");
  return out;
}

result<void> fill_from_packages(const template_recipe& r, int root, const fs::path& work, tree_limits& left,
                                const template_store::progress& tell) {
  const std::string own = machine_suite();
  if (own.empty())
    return fail(errc::unsupported, "no_package_sources", "/etc/os-release names no suite of Debian or Ubuntu",
                "Build the template from an image or a folder: from: oci, from: folder.");
  auto sources = package_sources(r, work, own);
  if (!sources) return sources.error();
  std::string include;
  for (const auto& p : r.packages) include += (include.empty() ? "" : ",") + p;
  tell("installing " + std::to_string(r.packages.size()) + " packages");
  const fs::path tar = work / "base.tar";
  runtime::program p;
  p.argv = {"mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"};
  if (!include.empty()) p.argv.push_back("--include=" + include);
  p.argv.insert(p.argv.end(), {r.suite.empty() ? own : r.suite, tar});
  p.argv.insert(p.argv.end(), sources->begin(), sources->end());
  p.env = machine_environment(r);
  if (auto done = run(std::move(p), "packages_failed", "installing the packages",
                      "Look at the text: a package that this suite lacks needs another `suite`, or an image.");
      !done)
    return done;
  tell("unpacking");
  return apply_layer(tar, root, left);
}

// Safe to run on the host: nothing that the packages bring is executed.
result<void> add_npm(const template_recipe& r, const fs::path& root, const fs::path& work,
                     const template_store::progress& tell) {
  if (r.npm.empty()) return {};
  tell("installing " + std::to_string(r.npm.size()) + " npm packages");
  utsname machine{};
  ::uname(&machine);
  const std::string architecture = std::string_view(machine.machine) == "aarch64" ? "arm64" : "x64";
  runtime::program p;
  p.argv = {"npm", "install", "--global", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
            "--prefix", root / "usr/local", "--cache", work / "npm"};
  for (const auto& name : r.npm) p.argv.push_back(std::regex_replace(name, std::regex("\\{npm-arch\\}"), architecture));
  p.env = machine_environment(r);
  p.directory = work;
  return run(std::move(p), "packages_failed", "installing the npm packages", "Look at the text for the cause.");
}

result<void> fill_from_image(const template_recipe& r, int root, const fs::path& work, tree_limits& left,
                             std::map<std::string, std::string>& env, const template_store::progress& tell) {
  tell("reading the image");
  const fs::path pieces = work / "image";
  std::error_code ec;
  fs::create_directory(pieces, ec);
  auto image = unpack_image(r.path, r.image, pieces);
  if (!image) return image.error();
  env = std::move(image->env);
  for (std::size_t i = 0; i < image->layers.size(); ++i) {
    tell("unpacking layer " + std::to_string(i + 1) + " of " + std::to_string(image->layers.size()));
    if (auto done = apply_layer(image->layers[i], root, left); !done) return done;
  }
  return {};
}

result<void> fill_from_folder(const template_recipe& r, int root, const fs::path& work, tree_limits& left,
                              const template_store::progress& tell) {
  std::error_code ec;
  if (!fs::is_directory(r.path, ec))
    return fail(errc::not_found, "folder_not_found", "there is no folder " + r.path.string() + " on the server",
                "Correct path.", "/path");
  tell("copying the folder");
  const fs::path tar = work / "base.tar";
  runtime::program p;
  p.argv = {"tar", "--create", "--one-file-system", "--numeric-owner", "--sort=name", "--xattrs", "--file", tar,
            "--directory", r.path, "."};
  p.env = machine_environment(r);
  if (auto done = run(std::move(p), "folder_failed", "reading the folder", "Look at the text for the cause."); !done)
    return done;
  return apply_layer(tar, root, left);
}

}  // namespace

result<void> fill_template(const template_recipe& r, const fs::path& root, const fs::path& work,
                           std::map<std::string, std::string>& env, const template_store::progress& tell) {
  const owned_fd top(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top) return errno_error(errno, "open the new template");
  tree_limits left;
  using source = template_recipe::source;
  switch (r.from) {
    case source::debian: {
      if (auto done = fill_from_packages(r, top.get(), work, left, tell); !done) return done;
      return add_npm(r, root, work, tell);
    }
    case source::oci:
      return fill_from_image(r, top.get(), work, left, env, tell);
    case source::folder:
      return fill_from_folder(r, top.get(), work, left, tell);
    case source::unset:
      break;
  }
  return fail(errc::internal, "recipe_without_source", "the recipe has no source");
}

}  // namespace caged::sandbox
