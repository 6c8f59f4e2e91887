// A host in a process of its own, to be killed: opens the jail on DATA, makes the boxes named, says "ready", waits.
// --warm before the names: keeps two boxes made ahead.
#include "support.hpp"

#include <unistd.h>
#include <cstdio>

int main(int argc, char** argv) {
  using namespace caged::vmm::jail::testing;
  if (argc < 2) return 2;
  const bool warm = argc > 2 && std::string(argv[2]) == "--warm";
  test_host host{std::filesystem::path(argv[1])};
  caged::vmm::jail::backend jail(host, test_config({{"warm_boxes", warm ? 2 : 0}}));
  if (auto opened = host.await(jail.open()); !opened) {
    std::fprintf(stderr, "%s\n", caged::describe(opened.error()).c_str());
    return 3;
  }
  for (int i = warm ? 3 : 2; i < argc; ++i) {
    if (auto made = host.await(jail.make(small_box(argv[i]))); !made) {
      std::fprintf(stderr, "%s\n", caged::describe(made.error()).c_str());
      return 4;
    }
  }
  std::puts("ready");
  std::fflush(stdout);
  for (;;) ::pause();
}
