#include "exec_evidence.hpp"

#include "launcher/spec.hpp"

#include <sys/wait.h>
#include <algorithm>

namespace caged::vmm::jail {
namespace {

constexpr std::size_t most_ancestors = 16, most_images = 4;
constexpr const char* agent = "/run/caged/caged-agent";

}  // namespace

std::string as_text(const std::string& bytes) {
  const auto plain = [](unsigned char c) { return c < 0x80; };
  if (std::all_of(bytes.begin(), bytes.end(), plain)) return bytes;
  return json::parse(to_text(json(bytes))).get<std::string>();  // invalid UTF-8 becomes U+FFFD
}

void exec_evidence::add(std::uint64_t token, const std::string& id, std::uint32_t root_uid, std::uint32_t uid_count) {
  const std::lock_guard lock(guard_);
  box& b = boxes_[token];
  b.id = id;
  b.root_uid = root_uid;
  b.uid_count = uid_count;
  b.by_pid[1] = {agent, 1, 0, {}};
}

void exec_evidence::remove(std::uint64_t token) {
  const std::lock_guard lock(guard_);
  const auto found = boxes_.find(token);
  if (found == boxes_.end()) return;
  for (auto& [number, e] : found->second.open) publish_start(e);
  boxes_.erase(found);
}

std::vector<std::string> exec_evidence::ancestors(const box& b, std::int64_t ppid) {
  std::vector<std::string> out;
  while (out.size() < most_ancestors) {
    const auto parent = b.by_pid.find(ppid);
    if (parent == b.by_pid.end()) break;
    out.push_back(as_text(parent->second.path));
    for (auto image = parent->second.before.rbegin(); image != parent->second.before.rend(); ++image)
      out.push_back(as_text(*image));
    if (parent->second.ppid == ppid) break;
    ppid = parent->second.ppid;
  }
  return out;
}

exec_evidence::program exec_evidence::program_of(std::uint64_t token, std::int64_t host_pid) const {
  const std::lock_guard lock(guard_);
  const auto b = boxes_.find(token);
  if (b == boxes_.end()) return {};
  const auto found = b->second.by_host_pid.find(host_pid);
  if (found == b->second.by_host_pid.end()) return {};
  const running& r = found->second;
  std::vector<std::string> line;
  for (auto image = r.before.rbegin(); image != r.before.rend(); ++image) line.push_back(as_text(*image));
  for (auto& one : ancestors(b->second, r.ppid)) line.push_back(std::move(one));
  return {r.path, r.pid, std::move(line)};
}

void exec_evidence::publish_start(entry& e) {
  if (e.published) return;
  e.published = true;
  if (!e.fact.data.contains("phase")) e.fact.data["phase"] = "started";
  if (sink_ != nullptr) sink_->publish(e.fact);
}

void exec_evidence::on_exec(message_reader& in) {
  const std::uint64_t token = in.number(), number = in.number();
  const auto time_us = static_cast<std::int64_t>(in.number());
  const auto pid = static_cast<std::int64_t>(in.number()), ppid = static_cast<std::int64_t>(in.number());
  const auto host_pid = static_cast<std::int64_t>(in.number());
  in.number();  // the parent's number on the host
  const auto uid = static_cast<std::uint32_t>(in.number());
  const std::string stdin_kind = in.word();
  const bool truncated = in.number() != 0;
  const std::string path = in.word(), cwd = in.word();
  const auto argv = in.list();
  const auto found = boxes_.find(token);
  if (!in.ok() || found == boxes_.end()) return;
  box& b = found->second;
  if (pid == 1 && b.by_host_pid.empty()) {
    b.by_host_pid[host_pid] = {agent, 1, 0, {}};  // the agent itself, which the host starts
    return;
  }
  entry e;
  e.seen = std::chrono::steady_clock::now();
  e.host_pid = host_pid;
  e.fact.sandbox_id = b.id;
  e.fact.type = "command";
  e.fact.time_us = time_us;
  const std::uint32_t inside = uid - b.root_uid;
  json words = json::array();
  for (const auto& word : argv) words.push_back(as_text(word));
  json& d = e.fact.data;
  d = {{"source", "exec"},
       {"witness", "seccomp"},
       {"path", as_text(path)},
       {"argv", std::move(words)},
       {"cwd", as_text(cwd)},
       {"pid", pid},
       {"ppid", ppid},
       {"stdin", stdin_kind},
       {"ancestors", ancestors(b, ppid)}};
  d["uid"] = inside < b.uid_count ? inside : 65534u;
  d["user"] = d["uid"] == 0 ? "root" : std::to_string(d["uid"].get<std::uint32_t>());
  if (truncated) d["truncated"] = true;
  running image{path, pid, ppid, {}};
  if (const auto was = b.by_host_pid.find(host_pid); was != b.by_host_pid.end() && was->second.ppid == ppid) {
    image.before = was->second.before;
    image.before.push_back(was->second.path);
    if (image.before.size() > most_images) image.before.erase(image.before.begin());
  }
  b.by_host_pid[host_pid] = b.by_pid[pid] = std::move(image);
  b.open.emplace(number, std::move(e));
}

void exec_evidence::on_end(message_reader& in) {
  const std::uint64_t token = in.number(), number = in.number(), took = in.number();
  const std::string how = in.word();
  const auto status = static_cast<int>(in.number());
  const auto b = boxes_.find(token);
  if (!in.ok() || b == boxes_.end()) return;
  const auto found = b->second.open.find(number);
  if (found == b->second.open.end()) return;
  entry e = std::move(found->second);
  b->second.open.erase(found);
  json& d = e.fact.data;
  if (e.published) {
    d.erase("argv");  // told already; only the end is new
    d.erase("stdin");
    d.erase("ancestors");
    e.published = false;
  }
  d["phase"] = "finished";
  e.fact.duration_us = static_cast<std::int64_t>(took);
  if (how == "replaced")
    d["replaced"] = true;
  else if (how == "exited" && WIFEXITED(status))
    d["exit_code"] = WEXITSTATUS(status);
  else if (how == "exited" && WIFSIGNALED(status))
    d["signal"] = WTERMSIG(status);
  else
    d["exit_unknown"] = true;  // nobody saw the status; none is invented
  if (how != "replaced") {
    b->second.by_host_pid.erase(e.host_pid);
    b->second.by_pid.erase(d["pid"].get<std::int64_t>());
  }
  publish_start(e);
}

void exec_evidence::packet(std::string_view records) {
  const std::lock_guard lock(guard_);
  message_reader in(records);
  while (in.ok() && !in.at_end()) {
    const std::string kind = in.word();
    if (kind == "exec")
      on_exec(in);
    else if (kind == "end")
      on_end(in);
    else if (kind == "ran") {
      const std::uint64_t token = in.number(), number = in.number();
      const std::string runs = in.word();
      const auto b = boxes_.find(token);
      if (b == boxes_.end()) continue;
      if (const auto e = b->second.open.find(number); e != b->second.open.end())
        e->second.fact.data["program"] = as_text(runs);
    } else if (kind == "lost") {
      const std::uint64_t token = in.number(), count = in.number();
      const auto b = boxes_.find(token);
      if (b == boxes_.end() || sink_ == nullptr) continue;
      event e;
      e.sandbox_id = b->second.id;
      e.type = "error";
      e.data = {{"reason", "evidence_dropped"},
                {"source", "exec"},
                {"count", count},
                {"message", std::to_string(count) + " executions were not recorded: the host took them too slowly"}};
      sink_->publish(std::move(e));
    } else {
      return;  // from a witness of another version
    }
  }
}

void exec_evidence::tick() {
  const std::lock_guard lock(guard_);
  const auto now = std::chrono::steady_clock::now();
  for (auto& [token, b] : boxes_) {
    for (auto& [number, e] : b.open) {
      if (!e.published && now - e.seen >= settle) publish_start(e);
    }
  }
}

}  // namespace caged::vmm::jail
