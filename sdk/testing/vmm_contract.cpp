// What every backend of boxes promises, whatever its boxes are made of.
#include <caged/testing/contract.hpp>
#include <caged/vmm.hpp>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

namespace caged::testing {
namespace {

using namespace std::chrono_literals;

box_spec spec_for(const std::string& id) {
  box_spec spec;
  spec.id = id;
  spec.memory_bytes = 128ull << 20;
  spec.max_processes = 128;
  return spec;
}

bool offers(contract_context& c, const std::string& what) {
  return std::find(c.offers().begin(), c.offers().end(), what) != c.offers().end();
}

// Destroys its box whatever the check did.
class box_guard {
 public:
  box_guard(contract_context& c, vmm_backend& vmm, box_spec spec)
      : c_(c), vmm_(vmm), id_(spec.id), info_(c.require_ok(c.await(vmm.make(std::move(spec))), "make a box")) {}
  box_guard(const box_guard&) = delete;
  box_guard& operator=(const box_guard&) = delete;
  ~box_guard() {
    if (owned_) (void)c_.await(vmm_.destroy(id_));
  }
  const box_info& info() const { return info_; }
  void disown() { owned_ = false; }

 private:
  contract_context& c_;
  vmm_backend& vmm_;
  std::string id_;
  box_info info_;
  bool owned_ = true;
};

// Whether the other end keeps the stream open for a moment: an agent that is there neither closes nor refuses.
task<bool> stays_open(vmm_backend* vmm, std::string id) {
  auto connected = co_await vmm->connect(id);
  if (!connected) co_return connected.error();
  box_stream stream = std::move(*connected);
  asio::steady_timer timer(co_await asio::this_coro::executor, 150ms);
  char piece[256];
  using namespace asio::experimental::awaitable_operators;
  auto first = co_await (stream.async_read_some(asio::buffer(piece), use_tuple) || timer.async_wait(use_tuple));
  if (first.index() == 1) co_return true;
  co_return !std::get<0>(std::get<0>(first));
}

task<void> can_connect(vmm_backend* vmm, std::string id) {
  auto connected = co_await vmm->connect(id);
  if (!connected) co_return connected.error();
  co_return result<void>{};
}

void knows_no_box_it_did_not_make(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  c.expect_error(c.await(can_connect(&vmm, "contract-none")), errc::not_found, "connect to an unknown box");
  c.expect_error(c.await(vmm.destroy("contract-none")), errc::not_found, "destroy an unknown box");
  c.expect_error(c.await(vmm.usage("contract-none")), errc::not_found, "usage of an unknown box");
  c.expect_error(c.await(vmm.wait("contract-none")), errc::not_found, "wait for an unknown box");
}

void refuses_what_it_cannot_honour(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  for (const char* id : {"", "../contract", "a/b", "a b"}) {
    c.expect_error(c.await(vmm.make(spec_for(id))), errc::invalid_argument, std::string("the id \"") + id + "\"");
  }
  box_spec spec = spec_for("contract-bad");
  spec.image = "contract-no-such-template";
  c.expect_error(c.await(vmm.make(spec)), errc::not_found, "an unknown template");
  spec = spec_for("contract-bad");
  spec.network_mode = "contract-no-such-mode";
  c.expect(c.await(vmm.make(spec)).has_error(), "an unknown network mode is refused");
  spec = spec_for("contract-bad");
  spec.memory_bytes = 1;
  c.expect_error(c.await(vmm.make(spec)), errc::invalid_argument, "one byte of memory");
  // A refusal leaves nothing behind: the id is free.
  box_guard box(c, vmm, spec_for("contract-bad"));
  c.expect_error(c.await(vmm.make(spec_for("contract-bad"))), errc::conflict, "a second box of the same id");
}

void makes_a_box_that_can_be_spoken_to(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  c.expect(!c.require_ok(c.await(vmm.images()), "list templates").empty(), "there is a template");
  box_guard box(c, vmm, spec_for("contract-one"));
  c.expect(box.info().id == "contract-one", "the box has the id it was given");
  c.expect(box.info().state == box_state::running, "the box runs");
  c.expect(!box.info().walls.empty(), "its walls are named");
  for (int i = 0; i < 4; ++i)
    c.expect(c.require_ok(c.await(stays_open(&vmm, "contract-one")), "connect"), "the agent keeps the connection");
  const box_usage usage = c.require_ok(c.await(vmm.usage("contract-one")), "usage");
  c.expect(usage.disk_bytes.has_value() || usage.memory_bytes.has_value() || usage.cpu_user.has_value(),
           "something is counted");
}

void destroys_all_and_again(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  box_guard box(c, vmm, spec_for("contract-gone"));
  auto ended = asio::co_spawn(c.host().executor(), vmm.wait("contract-gone"), asio::use_future);
  c.require_ok(c.await(vmm.destroy("contract-gone")), "destroy");
  c.require_ok(c.await(vmm.destroy("contract-gone")), "destroy again");
  c.require(ended.wait_for(c.deadline()) == std::future_status::ready, "wait() completes when the box is destroyed");
  const auto end = ended.get();
  c.require(end.has_value(), "wait() succeeds");
  c.expect(end->reason == "destroyed", "the end's reason is \"destroyed\", found \"" + end->reason + "\"");
  c.expect_error(c.await(can_connect(&vmm, "contract-gone")), errc::not_found, "connect to a destroyed box");
  box_guard again(c, vmm, spec_for("contract-gone"));  // the id is free
}

void adopts_the_wanted_and_sweeps_the_rest(contract_context& c) {
  if (!offers(c, "adopt")) c.skip("this backend's boxes end with the host");
  {
    auto& vmm = c.interface<vmm_backend>();
    box_guard keep(c, vmm, spec_for("contract-keep")), drop(c, vmm, spec_for("contract-drop"));
    keep.disown();
    drop.disown();
  }
  c.reopen();
  auto& vmm = c.interface<vmm_backend>();
  const auto adopted = c.require_ok(c.await(vmm.adopt({"contract-keep", "contract-never"})), "adopt");
  c.require(adopted.size() == 1 && adopted[0].id == "contract-keep", "exactly the live box that is known is adopted");
  c.expect(c.require_ok(c.await(stays_open(&vmm, "contract-keep")), "connect"), "an adopted box's agent answers");
  c.expect_error(c.await(can_connect(&vmm, "contract-drop")), errc::not_found, "a swept box");
  c.require_ok(c.await(vmm.destroy("contract-keep")), "destroy an adopted box");
  box_guard free(c, vmm, spec_for("contract-drop"));  // nothing of it is in the way
}

void pauses_and_resumes(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  box_guard box(c, vmm, spec_for("contract-ice"));
  if (!offers(c, "pause")) {
    c.expect_error(c.await(vmm.pause("contract-ice")), errc::unsupported, "pause");
    c.skip("this backend does not pause");
  }
  c.require_ok(c.await(vmm.pause("contract-ice")), "pause");
  c.require_ok(c.await(vmm.resume("contract-ice")), "resume");
  c.expect(c.require_ok(c.await(stays_open(&vmm, "contract-ice")), "connect"), "a resumed box answers");
  c.require_ok(c.await(vmm.pause("contract-ice")), "pause again");
  c.require_ok(c.await(vmm.destroy("contract-ice")), "destroy a paused box");
}

void tracks_changes(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  box_guard box(c, vmm, spec_for("contract-diff"));
  if (!offers(c, "changes")) {
    c.expect_error(c.await(vmm.changes("contract-diff")), errc::unsupported, "changes");
    c.skip("this backend does not track changed files");
  }
  c.require_ok(c.await(vmm.mark_files("contract-diff")), "mark");
  c.expect(c.require_ok(c.await(vmm.changes("contract-diff")), "changes").empty(),
           "nothing changed right after a mark");
}

void says_what_the_machine_gives(contract_context& c) {
  auto& vmm = c.interface<vmm_backend>();
  const auto probes = c.require_ok(c.await(vmm.probe_machine()), "probe the machine");
  c.require(!probes.empty(), "something is probed");
  for (const auto& p : probes) {
    c.expect(!p.name.empty() && !p.needs.empty() && !p.found.empty(),
             "the probe \"" + p.name + "\" says what it needs and what was found");
    c.expect(p.available || !p.remedy.empty(), "the probe \"" + p.name + "\" says how to get what is missing");
  }
}

const suite vmm_suite("vmm", {
                                 {"knows no box that it did not make", knows_no_box_it_did_not_make},
                                 {"refuses what it cannot honour", refuses_what_it_cannot_honour},
                                 {"makes a box that can be spoken to", makes_a_box_that_can_be_spoken_to},
                                 {"destroys all, and again", destroys_all_and_again},
                                 {"adopts the wanted and sweeps the rest", adopts_the_wanted_and_sweeps_the_rest},
                                 {"pauses and resumes", pauses_and_resumes},
                                 {"tracks changes", tracks_changes},
                                 {"says what the machine gives", says_what_the_machine_gives},
                             });

}  // namespace
}  // namespace caged::testing
