#include "git/repository.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <climits>

namespace caged::agent {
namespace {

constexpr std::size_t max_config = 1u << 20;

failed outside(const std::string& what) {
  return failed("permission_denied", "outside_workspace", what + " lies outside of the workspace",
                "Use a repository that is wholly inside.");
}

std::string read_small_file(const tree& files, const std::string& path, bool& there) {
  there = false;
  fd file;
  try {
    file = files.open(path, O_RDONLY | O_NONBLOCK);
  } catch (const failed& f) {
    if (f.get().reason == "no_such_file") return {};
    throw;
  }
  struct stat st {};
  if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || static_cast<std::size_t>(st.st_size) > max_config)
    throw failed("invalid_argument", "strange_repository", path + " is not a small file", "Check the repository.");
  there = true;
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return text;
}

std::string real_path(const fd& opened) {
  char where[PATH_MAX];
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(opened.get())).c_str(), where, sizeof where);
  if (n < 0) throw os_failure(errno, "find a folder's path");
  return std::string(where, static_cast<std::size_t>(n));
}

std::string first_line(std::string text) {
  text.erase(std::min(text.find('\n'), text.size()));
  return text;
}

// A folder that a file of the repository names, absolute or relative to `base`.
std::string named_folder(const tree& files, const std::string& base, const std::string& named) {
  try {
    return real_path(files.open(named.rfind('/', 0) == 0 ? named : base + "/" + named, O_PATH | O_DIRECTORY));
  } catch (const failed& f) {
    if (f.get().code == "not_found") throw;
    throw outside("the folder " + named + " that the repository names");
  }
}

void check_alternates(const tree& files, const std::string& objects) {
  bool there = false;
  const std::string text = read_small_file(files, objects + "/info/alternates", there);
  for (std::size_t at = 0; there && at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at && text[at] != '#') named_folder(files, objects, text.substr(at, end - at));
    at = end + 1;
  }
}

// Every word by which the configuration could name a program is looked for as plain text: that finds more than there
// is, and never less, because git knows no way of writing a key other than its letters.
std::string suspicious_word(const tree& files, const std::string& git_dir) {
  bool there = false;
  std::string text = read_small_file(files, git_dir + "/config", there);
  text += read_small_file(files, git_dir + "/config.worktree", there);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"filter", "include", "driver", "worktreeconfig", "uploadpack", "receivepack", "vcs",
                           "gitproxy", "command", "textconv", "external"})
    if (text.find(word) != std::string::npos) return word;
  return {};
}

git_repository open_repository(const tree& files, const std::string& work_tree, const fd& entry) {
  git_repository r;
  r.work_tree = work_tree;
  struct stat st {};
  if (::fstat(entry.get(), &st) != 0) throw os_failure(errno, "stat .git");
  if (S_ISDIR(st.st_mode)) {
    r.git_dir = real_path(entry);
  } else if (S_ISREG(st.st_mode)) {
    // A work tree or a submodule: the file names the folder.
    bool there = false;
    const std::string text = first_line(read_small_file(files, work_tree + "/.git", there));
    if (text.rfind("gitdir: ", 0) != 0)
      throw failed("invalid_argument", "strange_repository", ".git is a file without a gitdir",
                   "Check the repository.");
    r.git_dir = named_folder(files, work_tree, text.substr(8));
  } else {
    throw outside("the folder a symlink called .git leads to, perhaps,");
  }
  bool has_common = false;
  const std::string common_text = first_line(read_small_file(files, r.git_dir + "/commondir", has_common));
  const std::string common = has_common ? named_folder(files, r.git_dir, common_text) : r.git_dir;
  for (const char* part : {"objects", "refs", "HEAD", "index", "info", "packed-refs", "logs"}) {
    const std::string path =
        (part == std::string("HEAD") || part == std::string("index") ? r.git_dir : common) + "/" + part;
    try {
      files.open(path, O_PATH);
    } catch (const failed& f) {
      if (f.get().code != "not_found") throw outside(path);
    }
  }
  check_alternates(files, common + "/objects");
  r.suspicious = suspicious_word(files, common);
  if (r.suspicious.empty() && common != r.git_dir) r.suspicious = suspicious_word(files, r.git_dir);
  return r;
}

}  // namespace

git_repository find_repository(const tree& files, const std::string& path) {
  std::string folder = real_path(files.open(path, O_PATH | O_DIRECTORY));
  const std::string& root = files.folder();
  for (;;) {
    fd entry;
    try {
      entry = files.open(folder + "/.git", O_PATH | O_NOFOLLOW);
    } catch (const failed& f) {
      if (f.get().reason != "no_such_file") throw;
    }
    if (entry) return open_repository(files, folder, entry);
    if (folder == root || folder == "/" || folder.size() <= root.size()) break;
    folder.erase(folder.rfind('/') == 0 ? 1 : folder.rfind('/'));
  }
  throw failed("not_found", "no_repository",
               "there is no git repository at " + files.shown(path) + " or above it in the workspace",
               "Make one with git init, or name the folder of one in path.");
}

std::map<std::string, std::string> guarded_environment(
    const std::vector<std::pair<std::string, std::string>>& overrides) {
  std::vector<std::pair<std::string, std::string>> settings{{"core.hooksPath", "/dev/null"},
                                                            {"core.fsmonitor", "false"},
                                                            {"core.pager", "cat"},
                                                            {"core.editor", ":"},
                                                            {"sequence.editor", ":"},
                                                            {"core.sshCommand", "ssh"},
                                                            {"core.askPass", ""},
                                                            {"credential.helper", ""},
                                                            {"gpg.program", "gpg"},
                                                            {"gpg.ssh.program", "ssh-keygen"},
                                                            {"gpg.x509.program", "gpgsm"},
                                                            {"commit.gpgSign", "false"},
                                                            {"tag.gpgSign", "false"},
                                                            {"log.showSignature", "false"},
                                                            {"protocol.ext.allow", "never"},
                                                            {"protocol.file.allow", "never"},
                                                            {"submodule.recurse", "false"},
                                                            {"fetch.recurseSubmodules", "false"},
                                                            {"diff.ignoreSubmodules", "dirty"},
                                                            {"safe.bareRepository", "explicit"},
                                                            {"gc.auto", "0"},
                                                            {"maintenance.auto", "false"},
                                                            {"interactive.diffFilter", "cat"},
                                                            {"color.ui", "false"},
                                                            {"core.quotePath", "false"}};
  settings.insert(settings.end(), overrides.begin(), overrides.end());
  std::map<std::string, std::string> env{{"GIT_PAGER", "cat"},
                                         {"GIT_EDITOR", ":"},
                                         {"GIT_SEQUENCE_EDITOR", ":"},
                                         {"GIT_TERMINAL_PROMPT", "0"},
                                         {"GIT_SSH_COMMAND", "ssh"},
                                         {"GIT_ASKPASS", ""},
                                         {"GIT_CONFIG_COUNT", std::to_string(settings.size())}};
  for (std::size_t i = 0; i < settings.size(); ++i) {
    env["GIT_CONFIG_KEY_" + std::to_string(i)] = settings[i].first;
    env["GIT_CONFIG_VALUE_" + std::to_string(i)] = settings[i].second;
  }
  return env;
}

std::map<std::string, std::string> environment_of(const git_repository& where,
                                                  const std::vector<std::pair<std::string, std::string>>& overrides) {
  auto env = guarded_environment(overrides);
  env["GIT_DIR"] = where.git_dir;
  env["GIT_WORK_TREE"] = where.work_tree;
  return env;
}

}  // namespace caged::agent
