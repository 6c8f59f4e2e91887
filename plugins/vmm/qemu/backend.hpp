// QEMU as a vmm_backend: coroutines over the blocking keeper.
#pragma once

#include "keeper.hpp"

namespace caged::vmm::qemu {

class backend final : public vmm_backend, public vmm_standing {
 public:
  backend(host& from, const json& config);

  task<void> open() override;
  task<void> close() override;
  void* find_extension(std::string_view name) noexcept override;
  // A kernel of its own around each box is the strongest wall; by translation it is too slow to be anybody's default.
  int standing() const noexcept override { return keeper_->accelerated() ? 20 : -5; }

  task<box_info> make(box_spec spec) override;
  task<box_stream> connect(std::string id) override;
  task<void> destroy(std::string id) override;
  task<box_usage> usage(std::string id) override;
  task<box_end> wait(std::string id) override;
  task<std::vector<box_info>> adopt(std::vector<std::string> known) override;
  task<std::vector<std::string>> images() override;
  task<std::vector<probe>> probe_machine() override;
  task<void> pause(std::string id) override;
  task<void> resume(std::string id) override;
  task<snapshot_info> snapshot(std::string id, std::string snapshot_id, std::uint64_t most_bytes) override;
  task<box_info> restore(box_spec spec) override;
  task<void> remove_snapshot(std::string snapshot_id) override;

 private:
  template <class T, class F>
  task<T> on_pool(F work);

  host& host_;
  // Shared with work on the pool, which may outlive a cancelled coroutine.
  std::shared_ptr<keeper> keeper_;
};

}  // namespace caged::vmm::qemu
