// The only file that tests do not link.
#include "core/app/serve.hpp"
#include "core/cli/cli.hpp"

int main(int argc, char** argv) {
  return caged::cli::run(argc, argv,
                         [](const caged::cli::serve_options& o) { return caged::app::serve(o.host, o.program); });
}
