// Asio across a .so: a plugin awaits timers, sockets, strands and cancellation on the host's executor.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>

#include "tests/modules/asio_probe.hpp"
#include "tests/unit/plugin/plugin_fixture.hpp"

namespace caged::plugins {
namespace {

using modules::asio_probe;

class AsioAcross : public PluginTest {
 protected:
  void SetUp() override {
    auto loaded = host_->load(module_path("caged-tool-asio-across"), {});
    ASSERT_TRUE(loaded.has_value()) << describe(loaded.error());
    auto opened = host_->open_all();
    ASSERT_TRUE(opened.has_value()) << describe(opened.error());
    probe_ = host_->find<asio_probe>();
    ASSERT_NE(probe_, nullptr);
  }

  template <class Executor>
  void expect_ok(Executor on, task<void> work) {
    auto done = asio::co_spawn(on, std::move(work), asio::use_future);
    ASSERT_EQ(done.wait_for(10s), std::future_status::ready) << "it hangs";
    const auto answer = done.get();
    EXPECT_TRUE(answer.has_value()) << describe(answer.error());
  }

  asio_probe* probe_ = nullptr;
};

TEST_F(AsioAcross, AwaitsTimers) { expect_ok(context_.get_executor(), probe_->try_timer()); }
TEST_F(AsioAcross, AwaitsSockets) { expect_ok(context_.get_executor(), probe_->try_sockets()); }
TEST_F(AsioAcross, RunsOnStrandsOfItsOwn) { expect_ok(context_.get_executor(), probe_->try_own_strand()); }
TEST_F(AsioAcross, CancelsInside) { expect_ok(context_.get_executor(), probe_->try_cancellation_inside()); }
TEST_F(AsioAcross, RacesTwoWaits) { expect_ok(context_.get_executor(), probe_->try_race()); }
TEST_F(AsioAcross, MovesToThePoolAndBack) { expect_ok(context_.get_executor(), probe_->try_blocking_pool()); }

TEST_F(AsioAcross, KnowsTheExecutor) {
  expect_ok(context_.get_executor(), probe_->try_executor_identity(context_.get_executor()));
}

TEST_F(AsioAcross, SeesTheHostsStrand) {
  const asio::any_io_executor loop = context_.get_executor();
  const auto strand = asio::make_strand(loop);
  EXPECT_FALSE(probe_->on_strand(strand));
  std::promise<bool> seen;
  asio::post(strand, [&] { seen.set_value(probe_->on_strand(strand)); });
  EXPECT_TRUE(seen.get_future().get());
  expect_ok(strand, probe_->try_host_strand(strand));
}

TEST_F(AsioAcross, IsCancelledByTheHost) {
  auto signal = std::make_shared<asio::cancellation_signal>();
  auto done = asio::co_spawn(context_, probe_->wait_for_cancellation(),
                             asio::bind_cancellation_slot(signal->slot(), asio::use_future));
  asio::steady_timer later(context_, 20ms);
  later.async_wait([signal](auto) { signal->emit(asio::cancellation_type::terminal); });
  ASSERT_EQ(done.wait_for(5s), std::future_status::ready) << "the cancellation did not arrive";
  const auto answer = done.get();
  EXPECT_TRUE(answer.has_value()) << describe(answer.error());
}

TEST_F(AsioAcross, ThrowsTypesTheHostCatches) {
  auto done = asio::co_spawn(context_, probe_->throw_system_error(), asio::use_future);
  try {
    (void)done.get();
    FAIL() << "nothing was thrown";
  } catch (const boost::system::system_error& e) {
    EXPECT_EQ(e.code(), asio::error::connection_refused);
  }
}

}  // namespace
}  // namespace caged::plugins
