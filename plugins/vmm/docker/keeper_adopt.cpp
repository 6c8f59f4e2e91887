// The end of boxes, and what a host finds after one before it died.
#include "keeper.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

namespace caged::vmm::docker {
namespace {

result<box_spec> read_spec(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(errc::not_found, "no_record", "there is no " + file.string());
  auto value = parse_json(std::string((std::istreambuf_iterator<char>(in)), {}));
  if (!value) return value.error();
  try {
    box_spec spec;
    spec.id = value->at("id").get<std::string>();
    spec.image = value->at("image").get<std::string>();
    spec.snapshot = value->value("snapshot", "");
    spec.cpus = value->at("cpus").get<double>();
    spec.memory_bytes = value->at("memory").get<std::uint64_t>();
    spec.disk_bytes = value->at("disk").get<std::uint64_t>();
    spec.max_processes = value->at("processes").get<std::uint32_t>();
    spec.network_mode = value->at("network").get<std::string>();
    spec.env = value->at("env").get<std::map<std::string, std::string>>();
    spec.accept_missing = value->at("accept_missing").get<std::vector<std::string>>();
    return spec;
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "malformed_record", std::string("a record cannot be read: ") + e.what());
  }
}

}  // namespace

result<void> keeper::remove_container(const std::string& container) const {
  for (int i = 0;; ++i) {
    auto done = engine_.call("DELETE", "/containers/" + container + "?force=true&v=true");
    if (done || done.error().code == errc::not_found) return {};
    // "removal is already in progress", or a container that is just being started.
    if (done.error().code != errc::conflict || i == 100) return done.error();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void keeper::release(const std::string& id) {
  std::error_code ec;
  std::filesystem::remove_all(folder(id), ec);
}

result<void> keeper::destroy(const std::string& id) {
  auto b = find(id);
  if (!b) {
    const std::lock_guard lock(guard_);
    if (gone_.count(id) != 0) return {};
    return b.error();
  }
  std::string container;
  {
    const std::lock_guard lock((*b)->guard);
    (*b)->destroyed = true;
    container = (*b)->container;
  }
  if (auto removed = remove_container(container); !removed) return removed;
  release(id);
  const std::lock_guard lock(guard_);
  live_.erase(id);
  gone_.insert(id);
  return {};
}

std::shared_ptr<box> keeper::try_adopt(const std::string& id, const json& row) {
  const std::string container = row.value("Id", "");
  auto seen = inspect(container);
  auto spec = read_spec(folder(id) / "box.json");
  if (!seen || !spec || spec->id != id) return nullptr;
  const json state = seen->value("State", json::object());
  if (!state.value("Running", false)) return nullptr;
  auto b = std::make_shared<box>();
  b->id = id;
  b->spec = *spec;
  b->container = container;
  b->pid = state.value("Pid", std::int64_t{0});
  b->process = open_process(static_cast<pid_t>(b->pid));
  b->paused = state.value("Paused", false);
  // Asked again after the descriptor was opened: the number may have become another process meanwhile.
  auto again = inspect(container);
  if (!b->process || !again || again->value("State", json::object()).value("Pid", std::int64_t{0}) != b->pid)
    return nullptr;
  if (!connect_at(folder(id), "agent.sock")) return nullptr;
  if (!look_at_engine(*spec, b->walls, b->missing)) return nullptr;
  return b;
}

result<std::vector<box_info>> keeper::adopt(const std::vector<std::string>& known) {
  std::vector<box_info> out;
  auto rows = engine_.call("GET", "/containers/json?all=true&filters=" + filter("label", "caged.owner=" + owner_));
  if (!rows) {
    if (rows.error().reason != "no_engine") return rows.error();
    if (!known.empty()) host_.log(log_level::error, "boxes cannot be taken over: " + describe(rows.error()));
    return out;
  }
  std::set<std::string> kept;
  for (const auto& row : *rows) {
    const std::string id = row.value("Labels", json::object()).value("caged.id", "");
    {
      const std::lock_guard lock(guard_);
      if (live_.count(id) != 0 || making_.count(id) != 0) {
        kept.insert(id);
        continue;
      }
    }
    const bool wanted = std::find(known.begin(), known.end(), id) != known.end();
    if (auto b = wanted ? try_adopt(id, row) : nullptr) {
      out.push_back(describe_box(*b));
      kept.insert(id);
      const std::lock_guard lock(guard_);
      live_[id] = std::move(b);
      continue;
    }
    if (auto swept = remove_container(row.value("Id", "")); !swept)
      host_.log(log_level::warn, "cannot sweep the container of " + id + ": " + describe(swept.error()));
  }
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(options_.data / "boxes", ec))
    if (kept.count(entry.path().filename().string()) == 0) release(entry.path().filename().string());
  return out;
}

}  // namespace caged::vmm::docker
