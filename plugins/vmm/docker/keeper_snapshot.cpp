// Snapshots, restores and forks: commits of a container's file system.
#include "keeper.hpp"

namespace caged::vmm::docker {

// The engine holds the container still meanwhile, so the image is one moment's.
result<void> keeper::commit(const std::string& id, const std::string& image) const {
  const auto colon = image.rfind(':');
  const std::string target = "/commit?container=" + container_name(id) +
                             "&repo=" + http::encode_component(image.substr(0, colon)) +
                             "&tag=" + http::encode_component(image.substr(colon + 1)) + "&pause=true&changes=" +
                             http::encode_component("LABEL caged.owner=" + owner_);
  if (auto done = engine_.call("POST", target, json::object(), std::chrono::minutes(10)); !done) return done.error();
  return {};
}

result<void> keeper::snapshot(const std::string& id, const std::string& snapshot_id) {
  if (auto b = find(id); !b) return b.error();
  return commit(id, snapshot_image(snapshot_id));
}

result<void> keeper::remove_snapshot(const std::string& snapshot_id) {
  auto done = engine_.call("DELETE", "/images/" + http::encode_component(snapshot_image(snapshot_id)) + "?force=true");
  if (done) return {};
  if (done.error().code == errc::not_found)
    return fail(errc::not_found, "snapshot_not_found", "the engine has no snapshot \"" + snapshot_id + "\"",
                "List the sandbox's snapshots.");
  return done.error();
}

result<void> keeper::restore(const std::string& id, const std::string& snapshot_id) {
  auto found = find(id);
  if (!found) return found.error();
  const std::shared_ptr<box> b = *found;
  auto from = image(snapshot_image(snapshot_id));
  if (!from) return fail(errc::not_found, "snapshot_not_found", "the engine has no snapshot \"" + snapshot_id + "\"",
                         "List the sandbox's snapshots.");
  std::string before;
  bool paused = false;
  std::vector<std::string> missing;
  box_spec spec;
  {
    const std::lock_guard lock(b->guard);
    b->replacing = true;
    before = b->container;
    paused = b->paused;
    missing = b->missing;
    spec = b->spec;
  }
  auto removed = remove_container(before);
  auto ran = removed ? start(spec, *from, missing) : result<started>(removed.error());
  {
    const std::lock_guard lock(b->guard);
    b->replacing = false;
    if (!ran) return ran.error();
    b->container = std::move(ran->container);
    b->pid = ran->pid;
    b->process = std::move(ran->process);
    b->paused = false;
  }
  if (paused) return pause(id);
  return {};
}

result<box_info> keeper::fork(const std::string& source_id, box_spec spec) {
  if (auto source = find(source_id); !source) return source.error();
  if (auto fine = check(spec); !fine) return fine.error();
  const std::string image = fork_image(spec.id);
  if (auto done = commit(source_id, image); !done) return done.error();
  spec.image = image;
  auto made = make(spec);
  if (!made && made.error().code != errc::conflict)
    (void)engine_.call("DELETE", "/images/" + http::encode_component(image) + "?force=true");
  return made;
}

}  // namespace caged::vmm::docker
