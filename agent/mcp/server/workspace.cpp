#include "mcp/server/workspace.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "log.hpp"
#include "mcp/server/text_page.hpp"
#include "mcp/server/tools.hpp"

namespace caged::mcp {

struct workspace::entry {
  tool_handler run;
  const char* schema;
  std::vector<std::string> names;  // of the arguments; read from the schema when the tool is first used
};

// Counts what was sent to a process and not taken by it.
class workspace::unread_input : public agent::process_reader {
 public:
  void output_ready() override {}
  void stdin_taken(std::size_t bytes) override { waiting -= bytes; }
  std::uint64_t position() const noexcept override { return ~std::uint64_t{0}; }
  std::size_t waiting = 0;
};

namespace {

constexpr std::size_t max_unread = 1u << 20;

std::string absolute(const std::string& path) {
  char whole[PATH_MAX];
  if (::realpath(path.c_str(), whole) == nullptr)
    throw agent::os_failure(errno, "open the workspace " + path, "Name a folder that exists.");
  return whole;
}

// The environment of commands. The server's own holds keys of other services; a command gets what it needs to run.
std::map<std::string, std::string> command_environment(const server_options& o, const std::string& root) {
  std::map<std::string, std::string> env{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                         {"LANG", "C.UTF-8"},
                                         {"TERM", "dumb"},
                                         {"GIT_TERMINAL_PROMPT", "0"},
                                         {"NO_COLOR", "1"}};
  std::vector<std::string> names{"PATH", "HOME",   "USER",     "LOGNAME", "SHELL",
                                 "LANG", "LC_ALL", "LC_CTYPE", "TZ",      "TMPDIR"};
  names.insert(names.end(), o.pass_environment.begin(), o.pass_environment.end());
  for (const std::string& name : names)
    if (const char* value = std::getenv(name.c_str())) env[name] = value;
  if (!o.allowed_commands) return env;
  // A name on the list must mean the program the owner knows, so nothing that a client can write is on the path.
  std::string kept;
  for (const std::string& path : std::vector<std::string>{env["PATH"]})
    for (std::size_t at = 0; at <= path.size();) {
      const std::size_t end = std::min(path.find(':', at), path.size());
      const std::string folder = path.substr(at, end - at);
      const bool inside = root == "/" || folder == root || folder.rfind(root + "/", 0) == 0;
      if (!folder.empty() && folder[0] == '/' && folder.find("..") == std::string::npos && !inside)
        kept += (kept.empty() ? "" : ":") + folder;
      at = end + 1;
    }
  env["PATH"] = kept.empty() ? "/usr/bin:/bin" : kept;
  return env;
}

}  // namespace

std::string failure_text(const wire::failure& f) {
  std::string text = f.message;
  if (!f.action.empty()) text += ". " + f.action;
  return repaired(clip(text, 4000));
}

workspace::workspace(agent::loop& l, const server_options& o)
    : loop_(l),
      files_(absolute(o.workspace), agent::confinement::workspace),
      policy_(o.allowed_commands),
      processes_(l, files_, command_environment(o, files_.folder()),
                 o.walls == isolation::jail ? agent::reaping::everything : agent::reaping::own) {
  for (const tool_row& row : tool_rows()) {
    if (o.allowed_access == access::read_only && row.when != tool_row::availability::always) continue;
    const char* name = o.names == tool_names::published ? row.published : row.documented;
    infos_.push_back(
        {name, row.title, row.description, row.input_schema, row.output_schema, row.hints, row.max_result_characters});
    entries_.emplace(name, std::make_unique<entry>(entry{row.run, row.input_schema, {}}));
  }
}

workspace::~workspace() = default;

void workspace::start(const call_ptr& call) {
  entry& tool = *entries_.at(call->tool());
  if (tool.names.empty()) {
    const json schema = json::parse(tool.schema);
    for (const auto& [name, about] : schema.at("properties").items()) tool.names.push_back(name);
  }
  try {
    for (const auto& [name, value] : call->arguments().items())
      if (std::find(tool.names.begin(), tool.names.end(), name) == tool.names.end()) {
        std::string known;
        for (const std::string& n : tool.names) known += (known.empty() ? "" : ", ") + n;
        return call->refuse_arguments("unknown argument \"" + std::string(clip(name, 80)) + "\". " + call->tool() +
                                      (known.empty() ? " takes none." : " takes: " + known + "."));
      }
    tool.run(*this, call);
  } catch (const wire::failed& f) {
    if (f.get().reason == "bad_argument") return call->refuse_arguments(failure_text(f.get()));
    call->fail(failure_text(f.get()));
  } catch (const std::exception& e) {
    agent::log_line(agent::log_level::error, call->tool() + ": " + e.what());
    call->fail("internal error: " + std::string(e.what()));
  }
}

void workspace::job(const call_ptr& call, std::function<tool_result(const tool_call&)> work) {
  struct outcome {
    tool_result result;
    std::string bad_argument;
  };
  const auto made = std::make_shared<outcome>();
  const auto run = [call, made, work = std::move(work)] {
    try {
      made->result = work(*call);
    } catch (const wire::failed& f) {
      made->result.how = tool_result::outcome::failure;
      made->result.text = failure_text(f.get());
      if (f.get().reason == "bad_argument") made->bad_argument = made->result.text;
    } catch (const std::exception& e) {
      made->result.how = tool_result::outcome::failure;
      made->result.text = "internal error: " + std::string(e.what());
    }
  };
  loop_.run_job(run, [call, made] {
    if (!made->bad_argument.empty()) return call->refuse_arguments(std::move(made->bad_argument));
    call->answer(std::move(made->result));
  });
}

std::shared_ptr<agent::process> workspace::start_process(const json& what) {
  // Of processes that the table has forgotten nothing is asked any more.
  const auto forgotten = [this](const auto& row) { return !processes_.knows(row.first); };
  std::erase_if(outputs_, forgotten);
  std::erase_if(unread_, forgotten);
  auto started = processes_.start_exec(agent::arguments(what));
  outputs_[started->about().id] = output_file::follow(loop_, started);
  return started;
}

std::string workspace::old_output(const agent::process& p, std::uint64_t from, std::size_t limit) const {
  const auto it = outputs_.find(p.about().id);
  return it == outputs_.end() ? std::string() : it->second->read(from, limit);
}

void workspace::write_stdin(agent::process& to, const std::string& bytes) {
  auto& unread = unread_[to.about().id];
  if (!unread) unread = std::make_unique<unread_input>();
  if (unread->waiting + bytes.size() > max_unread)
    throw wire::failed(
        "limit_exceeded", "input_not_read",
        "the process has not read the " + std::to_string(unread->waiting) + " bytes that were sent before",
        "Wait for it to read, or end it with process_signal.");
  unread->waiting += bytes.size();
  to.write_stdin(unread.get(), bytes);
}

void workspace::kill_all() { processes_.signal_all(SIGKILL); }

std::string workspace::relative(const std::string& path) const {
  const std::string shown = files_.shown(path);
  if (shown == files_.folder()) return ".";
  return files_.folder() == "/" ? shown.substr(1) : shown.substr(files_.folder().size() + 1);
}

bool workspace::home_is_inside() const {
  const char* home = std::getenv("HOME");
  char whole[PATH_MAX];
  if (home == nullptr || ::realpath(home, whole) == nullptr) return false;
  const std::string real = whole;
  return files_.folder() == "/" || real == files_.folder() || real.rfind(files_.folder() + "/", 0) == 0;
}

void workspace::refuse_git_folder(const std::string& path) const {
  if (!policy_.limited()) return;
  std::string name;
  const agent::fd parent = files_.open_parent(files_.final_target(path), name);
  char where[PATH_MAX];
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(parent.get())).c_str(), where, sizeof where);
  if (n < 0) throw agent::os_failure(errno, "find the folder of " + path);
  const std::string real = std::string(where, static_cast<std::size_t>(n)) + "/" + name + "/";
  if (real.find("/.git/") == std::string::npos) return;
  throw wire::failed("permission_denied", "protected_path",
                     path + " belongs to git's own folder, which decides what git runs",
                     "The server limits commands; change the repository with git.", "/path");
}

}  // namespace caged::mcp
