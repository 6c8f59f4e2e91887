// The table of all tools.
#pragma once

#include <string>
#include <vector>

#include "mcp/server/workspace.hpp"

namespace caged::mcp {

// A handler answers the call, now or later, or throws a failure, which answers it.
using tool_handler = void (*)(workspace&, const call_ptr&);

struct tool_row {
  enum class availability : std::uint8_t { unset = 0, always, writable_only };
  const char* documented;
  const char* published;
  availability when;
  const char* title;
  const char* description;
  const char* input_schema;
  const char* output_schema;
  std::uint8_t hints;
  int max_result_characters;
  tool_handler run;
};

const std::vector<tool_row>& tool_rows();

void file_read(workspace& w, const call_ptr& call);
void file_write(workspace& w, const call_ptr& call);
void file_edit(workspace& w, const call_ptr& call);
void file_list(workspace& w, const call_ptr& call);
void file_delete(workspace& w, const call_ptr& call);
void file_search(workspace& w, const call_ptr& call);
void terminal_exec(workspace& w, const call_ptr& call);
void process_start(workspace& w, const call_ptr& call);
void process_read(workspace& w, const call_ptr& call);
void process_write(workspace& w, const call_ptr& call);
void process_signal(workspace& w, const call_ptr& call);
void process_list(workspace& w, const call_ptr& call);
void git_status(workspace& w, const call_ptr& call);
void git_diff(workspace& w, const call_ptr& call);
void git_log(workspace& w, const call_ptr& call);
void git_commit(workspace& w, const call_ptr& call);
void git_show(workspace& w, const call_ptr& call);
void git_branch(workspace& w, const call_ptr& call);

}  // namespace caged::mcp
