// The tools of one folder: what they share, and the way a call takes to its tool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <caged/mcp/call.hpp>
#include "arguments.hpp"
#include "exec/process_table.hpp"
#include "fs/tree.hpp"
#include "loop.hpp"
#include "mcp/server/command_policy.hpp"
#include "mcp/server/output_file.hpp"
#include "mcp/server/options.hpp"

namespace caged::mcp {

using call_ptr = std::shared_ptr<tool_call>;

class workspace : public toolbox {
 public:
  // Throws a failure when the folder cannot be opened.
  workspace(agent::loop& l, const server_options& options);
  ~workspace() override;

  const std::vector<tool_info>& tools() const override { return infos_; }
  void start(const call_ptr& call) override;
  void on_child_signal() { processes_.reap(); }
  // Kills everything that was started. For the end of the server.
  void kill_all();

  agent::loop& events() noexcept { return loop_; }
  const agent::tree& files() const noexcept { return files_; }
  agent::process_table& processes() noexcept { return processes_; }
  const command_policy& commands() const noexcept { return policy_; }
  // `path` as the client is told: relative to the workspace.
  std::string relative(const std::string& path) const;
  // Whether the client can write the settings of the user that commands run as.
  bool home_is_inside() const;
  // Where programs may be named, git's own folder decides what git runs: its files are not written then.
  void refuse_git_folder(const std::string& path) const;

  // Starts a process (arguments of exec.start) whose output stays readable. Throws when it cannot be started.
  std::shared_ptr<agent::process> start_process(const json& what);
  // What it wrote before what is in its log; see output_file::read.
  std::string old_output(const agent::process& p, std::uint64_t from, std::size_t limit) const;
  // Refuses (limit_exceeded) while the process leaves more than 1 MiB of its input unread.
  void write_stdin(agent::process& to, const std::string& bytes);

  // Runs `work` beside the loop and answers with what it returns or throws.
  void job(const call_ptr& call, std::function<tool_result(const tool_call&)> work);

 private:
  struct entry;
  agent::loop& loop_;
  agent::tree files_;
  command_policy policy_;
  class unread_input;
  // Both outlive the processes, which report to them.
  std::map<std::string, std::unique_ptr<unread_input>> unread_;
  std::map<std::string, std::shared_ptr<output_file>> outputs_;
  agent::process_table processes_;
  std::vector<tool_info> infos_;
  std::map<std::string, std::unique_ptr<entry>> entries_;
};

// "what happened. what to do", for the model.
std::string failure_text(const wire::failure& f);

}  // namespace caged::mcp
