// Default steps of a plugin and the answers of a backend that lacks an ability.
#include <caged/operation.hpp>
#include <caged/plugin.hpp>
#include <caged/vmm.hpp>

namespace caged {
namespace {

error lacks(const char* ability) {
  return fail(errc::unsupported, "backend_lacks_ability", std::string("this backend cannot ") + ability,
              "Choose a backend that can: `caged doctor` shows what each one does.");
}

}  // namespace

plugin::~plugin() = default;
task<void> plugin::open() { co_return result<void>{}; }
task<void> plugin::serve() { co_return result<void>{}; }
task<void> plugin::drain() { co_return result<void>{}; }
task<void> plugin::close() { co_return result<void>{}; }
void* plugin::find_extension(std::string_view) noexcept { return nullptr; }

task<void> vmm_backend::pause(std::string) { co_return lacks("pause a sandbox"); }
task<void> vmm_backend::resume(std::string) { co_return lacks("resume a sandbox"); }
task<snapshot_info> vmm_backend::snapshot(std::string, std::string, std::uint64_t) { co_return lacks("take a snapshot"); }
task<box_info> vmm_backend::restore(box_spec) { co_return lacks("restore a snapshot"); }
task<void> vmm_backend::remove_snapshot(std::string) { co_return lacks("keep snapshots"); }
task<void> vmm_backend::mark_files(std::string) { co_return lacks("track changed files"); }
task<std::vector<box_change>> vmm_backend::changes(std::string) { co_return lacks("track changed files"); }

std::string_view to_string(scope s) noexcept {
  switch (s) {
    case scope::open:
      return "open";
    case scope::read:
      return "read";
    case scope::sandbox:
      return "sandbox";
    case scope::full:
      return "full";
    case scope::unset:
      break;
  }
  return "unset";
}

result<scope> parse_scope(std::string_view text) {
  if (text == "read" || text == "read_only") return scope::read;
  if (text == "sandbox") return scope::sandbox;
  if (text == "full") return scope::full;
  return fail(errc::invalid_argument, "unknown_scope", "the scope \"" + std::string(text) + "\" is not known",
              "Use one of: read, sandbox, full.", "/scope");
}

}  // namespace caged
