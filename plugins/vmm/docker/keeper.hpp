// The blocking half of the backend: containers, their records and images. Every method may block and runs on the pool.
#pragma once

#include "config.hpp"
#include "engine.hpp"
#include "handover.hpp"

#include <caged/vmm.hpp>
#include <caged/vmm_standing.hpp>
#include <memory>
#include <mutex>
#include <set>

namespace caged::vmm::docker {

struct box {
  std::string id;  // constant

  // Guarded by `guard`, which is never held while the engine is asked.
  std::mutex guard;
  box_spec spec;
  std::string container;
  std::int64_t pid = 0;
  owned_fd process;  // pidfd of the first process
  bool paused = false, destroyed = false;
  bool replacing = false;  // a restore puts another container in its place
  std::vector<std::string> walls, missing;
};

class keeper {
 public:
  keeper(settings options, host& from);

  // Folders and the name under which the engine knows what is ours. Does not need the engine.
  result<void> open();

  result<box_info> make(const box_spec& spec);
  result<void> destroy(const std::string& id);
  result<std::vector<box_info>> adopt(const std::vector<std::string>& known);
  result<box_usage> usage(const std::string& id);
  result<void> pause(const std::string& id);
  result<void> resume(const std::string& id);
  result<snapshot_info> snapshot(const std::string& id, const std::string& snapshot_id, std::uint64_t most_bytes);
  result<box_info> restore(const box_spec& spec);
  result<void> remove_snapshot(const std::string& snapshot_id);
  result<std::vector<std::string>> images();
  result<std::vector<probe>> probe_machine();

  result<std::shared_ptr<box>> find(const std::string& id);
  // One attempt to connect to the agent; empty when its queue of connections is full.
  result<owned_fd> try_connect(const std::string& id);
  // Whether this process of the box was its last; then what is known of the end.
  enum class watch : std::uint8_t { unset = 0, ended, replaced };
  watch look(box& b, std::int64_t pid);
  box_end end_of(box& b);

 private:
  struct image_facts {
    std::string id;
    std::map<std::string, std::string> env;
  };
  struct started {
    std::string container;
    pid_t pid = 0;
    owned_fd process;
  };

  // keeper_make.cpp
  result<void> check(const box_spec& spec) const;
  result<image_facts> image(const std::string& name);
  result<image_facts> files_of(const box_spec& spec);  // the snapshot's image, else the template's
  result<void> look_at_engine(const box_spec& spec, std::vector<std::string>& walls, std::vector<std::string>& missing);
  json container_of(const box_spec& spec, const image_facts& from, const std::vector<std::string>& missing) const;
  result<started> start(const box_spec& spec, const image_facts& from, const std::vector<std::string>& missing);
  result<void> write_spec(const box_spec& spec) const;

  // keeper_adopt.cpp
  std::shared_ptr<box> try_adopt(const std::string& id, const json& row);
  result<void> remove_container(const std::string& container) const;
  void release(const std::string& id);

  result<std::string> container_for(const std::string& id);
  result<json> inspect(const std::string& container) const;
  std::string container_name(const std::string& id) const { return "caged-" + owner_.substr(0, 8) + "-" + id; }
  std::string snapshot_image(const std::string& id) const { return "caged-snapshot/" + owner_ + ":" + id; }
  std::string template_repository(const std::string& name) const { return "caged-template/" + owner_ + "/" + name; }
  result<void> commit(const std::string& id, const std::string& image) const;
  std::filesystem::path folder(const std::string& id) const { return options_.data / "boxes" / id; }

  const settings options_;
  host& host_;
  const engine engine_;
  std::string owner_;  // of this data folder: several hosts may share one engine

  std::mutex guard_;  // the members below; never held while blocking
  std::map<std::string, std::shared_ptr<box>> live_;
  std::set<std::string> making_, gone_;
  std::mutex importing_;  // one import at a time
};

box_info describe_box(box& b);

}  // namespace caged::vmm::docker
