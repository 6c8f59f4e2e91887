// The jail as a vmm_backend: coroutines over the blocking keeper.
#pragma once

#include "keeper.hpp"

#include <caged/vmm.hpp>
#include <caged/vmm_archive.hpp>
#include <caged/vmm_templates.hpp>

namespace caged::vmm::jail {

class backend final : public vmm_backend, public vmm_network, public vmm_archive, public vmm_templates {
 public:
  backend(host& from, const json& config);

  task<void> open() override;
  task<void> close() override;

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
  task<void> export_snapshot(std::string snapshot_id, int fd) override;
  task<snapshot_info> import_snapshot(std::string snapshot_id, int fd, std::uint64_t most_bytes) override;
  task<void> offer(std::vector<vmm_template> all) override;
  task<std::vector<std::string>> roots_in_use() override;
  task<void> mark_files(std::string id) override;
  task<std::vector<box_change>> changes(std::string id) override;
  task<box_gate> open_gate(std::string id) override;
  task<std::vector<owned_fd>> inner_sockets(std::string id, int family, unsigned count) override;
  void* find_extension(std::string_view name) noexcept override;

 private:
  template <class T, class F>
  task<T> on_pool(F work);

  host& host_;
  // Shared with work on the pool, which may outlive a cancelled coroutine.
  std::shared_ptr<keeper> keeper_;
};

}  // namespace caged::vmm::jail
