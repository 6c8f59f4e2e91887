// A tool plugin that fails in the step and the way its module asks for; compiled once for all of them.
#include "tests/modules/broken.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <caged/event.hpp>
#include <caged/fingerprint.hpp>
#include <caged/plugin.hpp>
#include <cstring>
#include <thread>

namespace caged::modules {
namespace {

using namespace std::chrono_literals;
// Longer than any deadline of the tests, short enough to wait for at their end.
constexpr auto hang = 900ms;

bool behaves(std::string_view what) { return what == caged_broken_behaviour; }

class broken : public tool {
 public:
  explicit broken(host& h) : host_(h) {}

  task<void> open() override { return act("open"); }
  task<void> serve() override { return act("serve"); }
  task<void> drain() override { return act("drain"); }
  task<void> close() override { return act("close"); }

 private:
  task<void> act(std::string step) {
    const std::string_view behaviour = caged_broken_behaviour;
    const std::string how = behaviour.rfind(step + "_", 0) == 0 ? std::string(behaviour.substr(step.size() + 1)) : "";
    if (how == "throws") throw std::runtime_error("the " + step + " is broken");
    if (how == "throws_odd") throw 42;
    if (how == "errors")
      co_return fail(errc::unavailable, "broken_on_purpose", "the " + step + " is broken", "Give up.");
    if (how == "blocks") std::this_thread::sleep_for(hang);
    if (how == "awaits") {
      asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
      co_await timer.async_wait(use_tuple);
    }
    if (how == "deaf") {
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      asio::steady_timer timer(co_await asio::this_coro::executor, hang);
      co_await timer.async_wait(use_tuple);
    }
    co_return result<void>{};
  }

  host& host_;
};

}  // namespace
}  // namespace caged::modules

using namespace caged::modules;

const std::uint32_t caged_broken_event_schema = caged::event_schema_number;

const char* caged_broken_fingerprint(const char* change) {
  static std::string text;
  const std::string_view wanted = change;
  text = CAGED_FINGERPRINT;
  if (const auto at = text.find(std::string(wanted.substr(0, wanted.find('=') + 1))); !wanted.empty())
    text.replace(at, std::min(text.find(';', at), text.size()) - at, wanted);
  return text.c_str();
}

std::int32_t caged_broken_create(void* host, const char*, std::uint64_t, void** plugin, char* error,
                                 std::uint64_t error_size) {
  if (behaves("create_hangs")) std::this_thread::sleep_for(hang);
  if (behaves("create_leaks_exception")) throw std::runtime_error("through the door");
  if (behaves("create_silent")) return 7;
  if (behaves("create_null")) {
    *plugin = nullptr;
    return 0;
  }
  if (behaves("create_errors")) {
    std::strncpy(error, "no such colour", error_size);
    return 1;
  }
  if (behaves("create_long_reason")) {
    std::memset(error, 'x', error_size);  // without a terminator
    return 1;
  }
  *plugin = static_cast<caged::plugin*>(new broken(*static_cast<caged::host*>(host)));
  return 0;
}

void caged_broken_destroy(void* plugin) { delete static_cast<caged::plugin*>(plugin); }

void* caged_broken_find_interface(void* plugin, const char* name) {
  if (behaves("interface_missing")) return nullptr;
  if (caged::tool::interface_name == name) return static_cast<caged::tool*>(static_cast<caged::plugin*>(plugin));
  return nullptr;
}
