#include "core/sandbox/repository.hpp"

#include <caged/base64.hpp>

#include "core/runtime/subprocess.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;

// git with nothing of the host's configuration: no hooks, helpers, prompts, ext:: protocol or credential stores.
std::map<std::string, std::string> git_environment(const fetch_request& want) {
  std::vector<std::pair<std::string, std::string>> settings{
      {"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"},       {"credential.helper", ""},
      {"protocol.ext.allow", "never"}, {"protocol.file.allow", "always"}, {"safe.directory", "*"},
      {"advice.detachedHead", "false"}};
  // git sends the header to whatever host a redirect names, so with a token no redirect is followed.
  if (!want.token.empty()) {
    settings.emplace_back("http.extraHeader", "Authorization: Basic " + base64_encode("x-access-token:" + want.token));
    settings.emplace_back("http.followRedirects", "false");
  }
  std::map<std::string, std::string> env{{"HOME", want.staging.string()},
                                         {"GIT_CONFIG_NOSYSTEM", "1"},
                                         {"GIT_CONFIG_GLOBAL", "/dev/null"},
                                         {"GIT_TERMINAL_PROMPT", "0"},
                                         {"GIT_ASKPASS", "/bin/false"},
                                         {"GIT_SSH_COMMAND", "ssh -oBatchMode=yes"},
                                         {"LC_ALL", "C.UTF-8"},
                                         {"GIT_CONFIG_COUNT", std::to_string(settings.size())}};
  for (std::size_t i = 0; i < settings.size(); ++i) {
    env["GIT_CONFIG_KEY_" + std::to_string(i)] = settings[i].first;
    env["GIT_CONFIG_VALUE_" + std::to_string(i)] = settings[i].second;
  }
  return env;
}

std::string without(std::string text, const std::string& secret) {
  for (std::size_t at; !secret.empty() && (at = text.find(secret)) != std::string::npos;)
    text.replace(at, secret.size(), "[redacted]");
  return text;
}

result<std::string> git(const fetch_request& want, std::vector<std::string> arguments) {
  runtime::program p;
  p.argv = {"git"};
  p.argv.insert(p.argv.end(), arguments.begin(), arguments.end());
  p.env = git_environment(want);
  p.limit = want.limit;
  auto done = runtime::run_program(p);
  if (!done) return done.error();
  if (done->exit_code == 0) return done->output;
  return fail(errc::unavailable, "repository_failed",
              "git could not fetch " + want.repo.url + ": " + without(done->errors.substr(0, 2000), want.token),
              "Check the address, the branch or commit and, for a private repository, repo_token.", "/repo");
}

bool is_path(const std::string& url) { return url.starts_with("/") || url.starts_with("file:///"); }

std::string path_of(const std::string& url) { return url.starts_with("file://") ? url.substr(7) : url; }

result<fs::path> checked_path(const fetch_request& want) {
  std::error_code ec;
  const fs::path real = fs::canonical(path_of(want.repo.url), ec);
  if (ec || !fs::is_directory(real))
    return fail(errc::invalid_argument, "repo_not_found",
                "repo \"" + want.repo.url + "\" is no folder of the server's host",
                "Give the absolute path of a folder that exists where `caged serve` runs.", "/repo");
  if (want.roots.empty()) return real;
  for (const auto& root : want.roots) {
    const auto relative = real.lexically_relative(fs::weakly_canonical(root));
    if (!relative.empty() && *relative.begin() != "..") return real;
  }
  return fail(errc::permission_denied, "repo_outside_roots",
              "repo \"" + real.string() + "\" lies outside the folders the server may read",
              "Add its parent to repo_roots in the server's configuration.", "/repo");
}

result<fetched> clone(const fetch_request& want, const std::string& source) {
  const fs::path folder = want.staging / "tree";
  std::vector<std::string> arguments{"clone", "--quiet", "--no-hardlinks"};
  if (!want.repo.branch.empty()) arguments.push_back("--branch=" + want.repo.branch);
  if (!want.repo.commit.empty()) arguments.push_back("--no-checkout");
  arguments.insert(arguments.end(), {"--", source, folder.string()});
  if (auto done = git(want, arguments); !done) return done.error();
  if (!want.repo.commit.empty()) {
    if (auto done = git(want, {"-C", folder.string(), "checkout", "--quiet", "--detach", want.repo.commit}); !done)
      return done.error();
  }
  fetched f;
  f.folder = folder;
  // An empty repository has no commit; that is no failure.
  if (auto head = git(want, {"-C", folder.string(), "rev-parse", "--verify", "HEAD"}); head)
    f.commit = head->substr(0, head->find('\n'));
  return f;
}

}  // namespace

result<fetched> fetch_to_host(const fetch_request& want) {
  std::error_code ec;
  fs::remove_all(want.staging, ec);
  fs::create_directories(want.staging, ec);
  if (ec)
    return fail(errc::insufficient_storage, "staging_failed",
                "cannot make " + want.staging.string() + ": " + ec.message(), "Free disk in the data folder.");
  fs::permissions(want.staging, fs::perms::owner_all, ec);
  fetched f;
  const bool as_it_is = is_path(want.repo.url) && want.repo.branch.empty() && want.repo.commit.empty();
  if (is_path(want.repo.url)) {
    auto path = checked_path(want);
    if (!path) return path.error();
    if (as_it_is) {
      f.folder = *path;
    } else {
      auto cloned = clone(want, path->string());
      if (!cloned) return cloned.error();
      f = *cloned;
    }
  } else {
    auto cloned = clone(want, want.repo.url);
    if (!cloned) return cloned.error();
    f = *cloned;
  }
  if (want.repo.subdirectory.empty()) return f;
  // A link inside the repository could lead anywhere on the host.
  const fs::path base = fs::canonical(f.folder, ec);
  const fs::path sub = ec ? fs::path() : fs::canonical(base / want.repo.subdirectory, ec);
  if (ec || !fs::is_directory(sub))
    return fail(errc::invalid_argument, "subdir_not_found",
                "the repository has no folder \"" + want.repo.subdirectory + "\"", "Name a folder that exists in it.",
                "/repo_subdir");
  const auto relative = sub.lexically_relative(base);
  if (relative.empty() || *relative.begin() == "..")
    return fail(errc::invalid_argument, "bad_subdir",
                "repo_subdir \"" + want.repo.subdirectory + "\" leads out of the repository",
                "Name a folder inside it.", "/repo_subdir");
  f.folder = sub;
  return f;
}

result<std::shared_ptr<byte_source>> pack_folder(asio::any_io_executor executor, asio::any_io_executor pool,
                                                 fs::path folder) {
  runtime::program p;
  // A file that changes while it is read is the user at work, not a failure.
  p.argv = {"tar",
            "-c",
            "--numeric-owner",
            "--warning=no-file-changed",
            "--warning=no-file-ignored",
            "--ignore-failed-read",
            "-f",
            "-",
            "-C",
            folder.string(),
            "."};
  p.env = {{"LC_ALL", "C.UTF-8"}};
  return runtime::open_program(std::move(executor), std::move(pool), std::move(p));
}

}  // namespace caged::sandbox
