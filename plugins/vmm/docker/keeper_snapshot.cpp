// Snapshots and what is made of them: commits of a container's file system.
#include "keeper.hpp"

namespace caged::vmm::docker {

// The engine holds the container still meanwhile, so the image is one moment's.
result<void> keeper::commit(const std::string& id, const std::string& image) const {
  const auto colon = image.rfind(':');
  const std::string target = "/commit?container=" + container_name(id) +
                             "&repo=" + http::encode_component(image.substr(0, colon)) +
                             "&tag=" + http::encode_component(image.substr(colon + 1)) +
                             "&pause=true&changes=" + http::encode_component("LABEL caged.owner=" + owner_);
  if (auto done = engine_.call("POST", target, json::object(), std::chrono::minutes(10)); !done) return done.error();
  return {};
}

result<snapshot_info> keeper::snapshot(const std::string& id, const std::string& snapshot_id,
                                       std::uint64_t most_bytes) {
  if (auto b = find(id); !b) return b.error();
  auto seen = engine_.call("GET", "/containers/" + container_name(id) + "/json?size=true");
  if (!seen) return seen.error();
  const auto bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(0, seen->value("SizeRw", std::int64_t{0})));
  if (bytes > most_bytes)
    return fail(errc::limit_exceeded, "snapshot_too_large",
                "the sandbox has written " + std::to_string(bytes) + " bytes; a snapshot may hold " +
                    std::to_string(most_bytes),
                "Remove files that are not needed, or raise snapshots.each_gb.");
  if (auto done = commit(id, snapshot_image(snapshot_id)); !done) return done.error();
  return snapshot_info{bytes};
}

result<keeper::image_facts> keeper::files_of(const box_spec& spec) {
  if (spec.snapshot.empty()) return image(spec.image);
  auto from = image(snapshot_image(spec.snapshot));
  if (from) return from;
  return fail(errc::not_found, "snapshot_not_found", "the engine has no snapshot \"" + spec.snapshot + "\"",
              "List the sandbox's snapshots.");
}

result<void> keeper::remove_snapshot(const std::string& snapshot_id) {
  auto done = engine_.call("DELETE", "/images/" + http::encode_component(snapshot_image(snapshot_id)) + "?force=true");
  if (done) return {};
  if (done.error().code == errc::not_found)
    return fail(errc::not_found, "snapshot_not_found", "the engine has no snapshot \"" + snapshot_id + "\"",
                "List the sandbox's snapshots.");
  return done.error();
}

result<box_info> keeper::restore(const box_spec& spec) {
  if (auto fine = check(spec); !fine) return fine.error();
  auto found = find(spec.id);
  if (!found) return found.error();
  const std::shared_ptr<box> b = *found;
  auto from = files_of(spec);
  if (!from) return from.error();
  std::string before;
  std::vector<std::string> missing;
  {
    const std::lock_guard lock(b->guard);
    b->replacing = true;
    before = b->container;
    missing = b->missing;
  }
  auto removed = remove_container(before);
  if (removed) removed = write_spec(spec);
  auto ran = removed ? start(spec, *from, missing) : result<started>(removed.error());
  {
    const std::lock_guard lock(b->guard);
    b->replacing = false;
    if (!ran) return ran.error();
    b->spec = spec;
    b->container = std::move(ran->container);
    b->pid = ran->pid;
    b->process = std::move(ran->process);
    b->paused = false;
  }
  return describe_box(*b);
}

}  // namespace caged::vmm::docker
