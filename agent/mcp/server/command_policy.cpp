#include "mcp/server/command_policy.hpp"

#include <algorithm>
#include <string_view>

#include "mcp/server/shell_words.hpp"

namespace caged::mcp {
namespace {

using words = std::vector<shell_word>;

template <std::size_t N>
bool one_of(const std::string& name, const std::string_view (&set)[N]) {
  return std::find(std::begin(set), std::end(set), name) != std::end(set);
}

// Programs and builtins whose business is to run others; what they would run could not be told for sure.
constexpr std::string_view launchers[] = {"env",
                                          "nice",
                                          "nohup",
                                          "time",
                                          "timeout",
                                          "setsid",
                                          "stdbuf",
                                          "xargs",
                                          "parallel",
                                          "command",
                                          "builtin",
                                          "exec",
                                          "eval",
                                          ".",
                                          "source",
                                          "trap",
                                          "alias",
                                          "enable",
                                          "coproc",
                                          "busybox",
                                          "toybox",
                                          "sudo",
                                          "doas",
                                          "su",
                                          "runuser",
                                          "setpriv",
                                          "ionice",
                                          "chrt",
                                          "taskset",
                                          "flock",
                                          "watch",
                                          "strace",
                                          "ltrace",
                                          "gdb",
                                          "script",
                                          "expect",
                                          "ssh",
                                          "chroot",
                                          "unshare",
                                          "nsenter",
                                          "bwrap",
                                          "systemd-run",
                                          "start-stop-daemon",
                                          "at",
                                          "batch",
                                          "crontab",
                                          "entr",
                                          "unbuffer",
                                          "prlimit",
                                          "numactl",
                                          "firejail",
                                          "fakeroot",
                                          "proot",
                                          "dbus-run-session",
                                          "if",
                                          "then",
                                          "else",
                                          "elif",
                                          "fi",
                                          "for",
                                          "while",
                                          "until",
                                          "do",
                                          "done",
                                          "case",
                                          "esac",
                                          "function",
                                          "select",
                                          "{",
                                          "}",
                                          "!",
                                          "[["};
constexpr std::string_view shells[] = {"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "fish"};
// Variables that change what a program does in known, harmless ways. All others could make it load or run something.
constexpr std::string_view harmless_variables[] = {
    "CI",   "NODE_ENV", "DEBUG",       "VERBOSE",  "LANG", "LC_ALL", "LC_CTYPE",       "TZ",
    "TERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "PORT", "HOST",   "RUST_BACKTRACE", "RUST_LOG"};
constexpr std::string_view git_commands[] = {
    "add",      "blame",     "branch",     "cat-file",     "checkout",  "cherry-pick", "clean", "commit",   "describe",
    "diff",     "diff-tree", "fetch",      "for-each-ref", "grep",      "init",        "log",   "ls-files", "ls-remote",
    "ls-tree",  "merge",     "merge-base", "mv",           "name-rev",  "pull",        "push",  "rebase",   "reflog",
    "remote",   "reset",     "restore",    "rev-list",     "rev-parse", "revert",      "rm",    "shortlog", "show",
    "show-ref", "stash",     "status",     "switch",       "tag",       "version"};

bool starts(const std::string& text, std::string_view with) { return text.compare(0, with.size(), with) == 0; }

void check_find(const words& argv) {
  for (const shell_word& w : argv)
    for (const std::string_view option :
         {"-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprint0", "-fprintf", "-fls"})
      if (w.value == option)
        throw refused_command("find " + w.value + " runs programs or writes files",
                              "Let find print, and act on what it printed.");
}

void refuse_options(const words& argv, std::initializer_list<std::string_view> options, const char* why) {
  for (std::size_t i = 1; i < argv.size(); ++i) {
    if (argv[i].value == "--") return;
    for (const std::string_view option : options) {
      const std::string& given = argv[i].value;
      // Long options may be shortened and carry "=value"; short ones may be bundled.
      const std::string name = given.substr(0, given.find('='));
      const bool is_long = starts(std::string(option), "--");
      const bool hit = is_long ? name.size() > 2 && starts(name, "--") && starts(std::string(option), name)
                               : given.size() > 1 && given[0] == '-' && given[1] != '-' &&
                                     given.find(option[1]) != std::string::npos;
      if (hit) throw refused_command(argv[0].value + " " + given + " " + why, "Leave that option out.");
    }
  }
}

// Options of git that name a program. Aliases cannot be reached: only git's own commands are known here.
void check_git(words& argv) {
  std::size_t at = 1;
  while (at < argv.size() && starts(argv[at].value, "-")) {
    const std::string& option = argv[at].value;
    if (option != "--no-pager" && option != "--no-optional-locks" && option != "--version" &&
        option != "--literal-pathspecs")
      throw refused_command("git " + option + " before the command can change what git runs and where",
                            "Leave it out; choose the folder with cwd.");
    ++at;
  }
  if (at >= argv.size()) return;
  const std::string name = argv[at].value;
  if (argv[at].glob || !one_of(name, git_commands))
    throw refused_command("git " + name + " is not one of the commands that are known not to start programs",
                          "Use another git command.");
  const words rest(argv.begin() + static_cast<std::ptrdiff_t>(at), argv.end());
  refuse_options(rest,
                 {"--upload-pack", "--receive-pack", "--exec", "--open-files-in-pager", "--ext-diff", "--textconv",
                  "--filters", "--output", "--edit-description", "--template", "--separate-git-dir", "--strategy",
                  "--config", "--gpg-sign", "--interactive"},
                 "can start a program or write elsewhere");
  if (name == "grep") refuse_options(rest, {"-O"}, "starts a pager");
  if (name == "rebase") refuse_options(rest, {"-x", "-i", "-s"}, "runs commands");
  if (name == "merge" || name == "pull" || name == "cherry-pick" || name == "revert")
    refuse_options(rest, {"-s", "-S"}, "can start a program");
  if (name == "ls-remote" || name == "fetch" || name == "pull" || name == "push")
    for (const shell_word& w : rest)
      if (w.value.find("::") != std::string::npos || starts(w.value, "-u"))
        throw refused_command("git " + name + " " + w.value + " names a program", "Use a plain URL.");
  for (const std::string_view subject : {"diff", "log", "show"})
    if (name == subject)
      for (const char* option : {"--no-textconv", "--no-ext-diff"})
        argv.insert(argv.begin() + static_cast<std::ptrdiff_t>(at) + 1, shell_word{option, shell_quoted(option)});
  if (name == "blame")
    argv.insert(argv.begin() + static_cast<std::ptrdiff_t>(at) + 1, shell_word{"--no-textconv", "'--no-textconv'"});
}

void check_redirection(const shell_redirection& r) {
  const std::string& target = r.target.value;
  const bool to_descriptor = r.operation.size() > 1 && r.operation.back() == '&';
  if (to_descriptor && (target == "-" || (target.size() == 1 && target[0] >= '0' && target[0] <= '9'))) return;
  if (r.target.glob || target.empty()) throw refused_command("a redirection to a pattern", "Name the file.");
  if (target == "/dev/null") return;
  const std::string path = "/" + target + "/";
  if (target[0] == '/' || path.find("/../") != std::string::npos || path.find("/.git/") != std::string::npos)
    throw refused_command("a redirection to " + target, "Redirect to files below the working folder only.");
}

class checker {
 public:
  explicit checker(const command_policy& policy, const std::string& list) : policy_(policy), list_(list) {}

  std::string check(const std::string& text, int depth) const {
    std::string out;
    for (simple_command& command : read_shell_command(text)) {
      if (!out.empty()) out += ' ';
      out += check_simple(command, depth);
      if (!command.then.empty()) out += " " + command.then;
    }
    return out;
  }

 private:
  std::string check_simple(simple_command& command, int depth) const {
    std::string out;
    std::size_t at = 0;
    for (; at < command.words.size() && command.words[at].name_size > 0; ++at) {
      const shell_word& w = command.words[at];
      const std::string name = w.value.substr(0, w.name_size);
      if (!one_of(name, harmless_variables) || w.glob)
        throw refused_command("the variable " + name + " could change which programs run", "Leave it out.");
      out += name + "=" + shell_quoted(w.value.substr(w.name_size + 1)) + " ";
    }
    words argv(command.words.begin() + static_cast<std::ptrdiff_t>(at), command.words.end());
    if (argv.empty()) throw refused_command("no program is named", "Begin with an allowed command: " + list_ + ".");
    check_program(argv, depth);
    for (std::size_t i = 0; i < argv.size(); ++i) out += (i == 0 ? "" : " ") + argv[i].rendered;
    for (const shell_redirection& r : command.redirections) {
      check_redirection(r);
      out += " " + r.operation + r.target.rendered;
    }
    return out;
  }

  void check_program(words& argv, int depth) const {
    const std::string name = argv[0].value;
    if (argv[0].glob || name.empty())
      throw refused_command("the program's name is a pattern or empty", "Name the program.");
    if (!policy_.allows(name))
      throw refused_command(name + " is not an allowed command",
                            "Allowed: " + list_ + ". Choose the working folder with cwd.");
    if (one_of(name, launchers))
      throw refused_command(name + " runs other programs, or is part of a script", "Call the program itself.");
    if (one_of(name, shells)) return check_shell(argv, depth);
    if (name == "find") check_find(argv);
    if (name == "git") check_git(argv);
    if (name == "tar")
      refuse_options(argv,
                     {"--to-command", "--checkpoint-action", "--use-compress-program", "--rsh-command", "--rmt-command",
                      "--info-script", "--new-volume-script", "-I", "-F"},
                     "runs a program");
    if (name == "sort") refuse_options(argv, {"--compress-program"}, "runs a program");
    if (name == "rsync") refuse_options(argv, {"--rsh", "--rsync-path", "-e"}, "runs a program");
    if (name == "rg") refuse_options(argv, {"--pre", "--hostname-bin"}, "runs a program");
    if (name == "sed") argv.insert(argv.begin() + 1, shell_word{"--sandbox", "'--sandbox'"});
  }

  // A shell is allowed to run a command that would be allowed without it, and no script.
  void check_shell(words& argv, int depth) const {
    if (depth > 3) throw refused_command("shells within shells", "Call the program itself.");
    if (argv.size() != 3 || argv[1].value != "-c" || argv[2].glob)
      throw refused_command(argv[0].value + " with a script or options could run anything",
                            "Use it as " + argv[0].value + " -c 'command', or call the program itself.");
    const std::string inner = check(argv[2].value, depth + 1);
    argv[2] = shell_word{inner, shell_quoted(inner)};
  }

  const command_policy& policy_;
  const std::string& list_;
};

}  // namespace

bool command_policy::allows(const std::string& program) const {
  return !allowed_ || std::find(allowed_->begin(), allowed_->end(), program) != allowed_->end();
}

std::string command_policy::checked(const std::string& command) const {
  if (!allowed_) return command;
  std::string list;
  for (const std::string& name : *allowed_) list += (list.empty() ? "" : ", ") + name;
  return checker(*this, list).check(command, 0);
}

bool command_policy::runs_git(const std::string& checked_command) {
  return checked_command.find("git") != std::string::npos;
}

}  // namespace caged::mcp
