// The only file that tests do not link.
#include "core/app/policy_tool.hpp"
#include "core/app/serve.hpp"
#include "core/cli/cli.hpp"

int main(int argc, char** argv) {
  const caged::cli::host_functions host{
      [](const caged::cli::serve_options& o) { return caged::app::serve(o.host, o.program); }, caged::app::policy_tool};
  return caged::cli::run(argc, argv, host);
}
