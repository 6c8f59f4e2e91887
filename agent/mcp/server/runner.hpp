// Runs one program for a call: collects what it writes within bounds, ends it when the call is cancelled.
#pragma once

#include <functional>
#include <memory>

#include "exec/process.hpp"
#include "mcp/server/text_page.hpp"
#include "mcp/server/workspace.hpp"

namespace caged::mcp {

struct run_outcome {
  std::string id;         // of the process
  head_and_tail out{page_bytes / 2}, error{page_bytes / 2};
  json exit;              // exit_code, signal, timed_out, duration_ms …
};

// `what` are the arguments of exec.start (argv or command, cwd, env, timeout_ms). Throws when it cannot be started.
// `done` is called on the loop, and not at all when the call is cancelled.
void run_program(workspace& w, const call_ptr& call, const json& what, std::size_t keep,
                 std::function<void(run_outcome&)> done);

}  // namespace caged::mcp
