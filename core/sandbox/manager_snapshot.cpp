// Snapshots and forks. A row of kind "snapshot" is written before the files exist and completed after: what a dead
// server left pending is removed at the next start.
#include <unistd.h>
#include <caged/random.hpp>

#include "core/base/time.hpp"
#include "core/runtime/deadline.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

constexpr auto settle_limit = std::chrono::seconds(60);

write put_of(json row) {
  write put;
  put.kind = "snapshot";
  put.id = row["id"].get<std::string>();
  put.body = std::move(row);
  return put;
}

write erase_of(std::string id) {
  write gone;
  gone.what = write::op::erase;
  gone.kind = "snapshot";
  gone.id = std::move(id);
  return gone;
}

// What one sandbox and one account hold already.
struct holdings {
  std::uint64_t count = 0, bytes = 0;
};

holdings count_up(const std::vector<json>& rows, const std::string& sandbox, const std::string& account) {
  holdings out;
  for (const auto& row : rows) {
    if (row.value("owner_key", "") == account) out.bytes += row.value("size_bytes", std::uint64_t{0});
    out.count += row.value("sandbox_id", "") == sandbox && row.value("trigger", "") == "manual";
  }
  return out;
}

record copy_for_fork(const record& from, const std::string& name) {
  record r = from;
  r.name = name.empty() ? from.name + "-fork" : name;
  r.status = state::pending;
  r.ended_reason.clear();
  r.failure.reset();
  r.walls.clear();
  r.missing_walls.clear();
  r.started_us = r.stopped_us = r.running_total_us = r.running_since_us = r.llm_micro = r.egress_bytes = 0;
  r.budget_alert = 0;
  r.held.clear();
  return r;
}

}  // namespace

task<void> manager::commit_one(write w) {
  batch b;
  b.writes.push_back(std::move(w));
  co_return co_await parts_.records->commit(std::move(b));
}

task<std::vector<json>> manager::snapshot_rows() {
  std::vector<json> rows;
  std::string after;
  while (true) {
    auto page = co_await parts_.records->list("snapshot", after, 1000);
    if (!page) co_return page.error();
    for (auto& row : *page) {
      after = row.id;
      rows.push_back(std::move(row.body));
    }
    if (page->size() < 1000) break;
  }
  co_return rows;
}

task<json> manager::snapshot_row(std::string snapshot_id) {
  auto row = co_await parts_.records->get("snapshot", snapshot_id);
  if (!row) co_return row.error();
  if (!*row || (*row)->body.value("trigger", "") == "fork")
    co_return fail(errc::not_found, "snapshot_not_found", "there is no snapshot \"" + snapshot_id + "\"",
                   "List them: GET /v1/sandboxes/{id}/snapshots.", "/snapshot");
  co_return std::move((*row)->body);
}

// How many bytes one more snapshot may have, or why there may be none.
task<std::uint64_t> manager::snapshot_room(record of, std::string trigger) {
  auto rows = co_await snapshot_rows();
  if (!rows) co_return rows.error();
  const auto& most = parts_.config->snapshots;
  const holdings held = count_up(*rows, of.id, of.owner_key);
  if (trigger == "manual" && held.count >= most.per_sandbox)
    co_return fail(errc::limit_exceeded, "too_many_snapshots",
                   "sandbox " + of.id + " has " + std::to_string(held.count) + " snapshots, the most it may have",
                   "Delete one (`caged snapshot delete`), or raise snapshots.per_sandbox in the configuration.");
  if (held.bytes >= most.account_bytes)
    co_return fail(errc::limit_exceeded, "snapshot_space_used_up",
                   "the account's snapshots hold " + std::to_string(held.bytes) + " bytes, all that they may",
                   "Delete one (`caged snapshot delete`), or raise snapshots.account_gb in the configuration.");
  co_return std::min<std::uint64_t>(most.each_bytes, most.account_bytes - held.bytes);
}

task<json> manager::take_snapshot(std::string id, json about) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto one_at_a_time = co_await snapshots_.lock();
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status != state::running && l->rec.status != state::paused)
    co_return fail(errc::conflict, "wrong_state",
                   "sandbox " + id + " is " + std::string(to_string(l->rec.status)) + ", neither running nor paused",
                   "See `caged status " + id + "`.");
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  const std::string trigger = about.value("trigger", "manual");
  std::uint64_t room = ~std::uint64_t{0};
  if (trigger != "fork") {
    auto left = co_await snapshot_room(l->rec, trigger);
    if (!left) co_return left.error();
    room = *left;
  }
  const auto start = base::now_us();
  json row{{"id", random_id("snap-", 12)},
           {"sandbox_id", id},
           {"name", about.value("name", "")},
           {"description", about.value("description", "")},
           {"status", "pending"},
           {"trigger", trigger},
           {"size_bytes", 0},
           {"backend", l->rec.backend},
           {"template", l->rec.template_name},
           {"owner_key", l->rec.owner_key},
           {"created_at", base::format_time(start)},
           {"completed_at", nullptr}};
  const auto snapshot_id = row["id"].get<std::string>();
  write pending = put_of(row);
  if (auto kept = co_await commit_one(std::move(pending)); !kept) co_return kept.error();
  auto taken = co_await (*backend)->snapshot(id, snapshot_id, room);
  if (!taken) {
    write gone = erase_of(snapshot_id);
    (void)co_await commit_one(std::move(gone));
    co_return taken.error();
  }
  row["size_bytes"] = taken->bytes;
  if (trigger == "fork") co_return row;  // stays pending: nobody but the fork shall see it
  row["status"] = "completed";
  row["completed_at"] = base::format_time(base::now_us());
  json fact{{"phase", "snapshot"}, {"snapshot", snapshot_id}, {"trigger", trigger}, {"size_bytes", taken->bytes}};
  std::vector<write> writes;
  writes.push_back(put_of(row));
  const auto took = std::chrono::microseconds(base::now_us() - start);
  auto saved = co_await save_with(l, "lifecycle", std::move(fact), took, std::move(writes));
  if (!saved) {
    (void)co_await drop_snapshot(row);
    co_return saved.error();
  }
  co_return row;
}

// The files first: a row without files can be removed again, files without a row would never be found.
task<void> manager::drop_snapshot(json row) {
  record owner;
  owner.backend = row.value("backend", "");
  auto backend = backend_of(owner);
  if (!backend) co_return backend.error();
  const auto id = row["id"].get<std::string>();
  auto removed = co_await (*backend)->remove_snapshot(id);
  if (!removed && removed.error().code != errc::not_found) co_return removed.error();
  write gone = erase_of(id);
  co_return co_await commit_one(std::move(gone));
}

task<void> manager::delete_snapshot(std::string snapshot_id) {
  auto one_at_a_time = co_await snapshots_.lock();
  auto row = co_await snapshot_row(snapshot_id);
  if (!row) co_return row.error();
  co_return co_await drop_snapshot(std::move(*row));
}

task<void> manager::restore_snapshot(std::string snapshot_id, std::string target) {
  auto one_at_a_time = co_await snapshots_.lock();  // it is not deleted meanwhile
  auto row = co_await snapshot_row(snapshot_id);
  if (!row) co_return row.error();
  if (target.empty()) target = row->value("sandbox_id", "");
  auto found = find(target);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  if (row->value("status", "") != "completed")
    co_return fail(errc::conflict, "snapshot_pending", "the snapshot " + snapshot_id + " is not complete",
                   "Wait until its status is completed.");
  if (l->rec.status != state::running && l->rec.status != state::paused)
    co_return fail(errc::conflict, "wrong_state",
                   "sandbox " + target + " is " + std::string(to_string(l->rec.status)) + ", neither running nor paused",
                   "Make a new sandbox (`caged up`), and restore into that.");
  if (l->rec.backend != row->value("backend", ""))
    co_return fail(errc::conflict, "other_backend",
                   "the snapshot is of the backend " + row->value("backend", "") + ", the sandbox of " + l->rec.backend,
                   "Restore it into a sandbox of the same backend.");
  const auto start = base::now_us();
  drop_client(*l);
  l->from_snapshot = snapshot_id;
  ++l->generation;  // whoever watches the old box does not tell its end
  l->watched = false;
  auto made = co_await make_box(l);
  l->from_snapshot.clear();
  watch(l);
  if (!made) co_return made.error();
  l->ports.clear();
  l->last_used = std::chrono::steady_clock::now();
  json fact{{"phase", "restored"}, {"snapshot", snapshot_id}};
  if (l->rec.status == state::paused) co_return co_await become(l, state::running, std::move(fact));
  co_return co_await save(l, "lifecycle", std::move(fact), std::chrono::microseconds(base::now_us() - start));
}

task<std::vector<std::string>> manager::fork(std::string id, std::string name, unsigned count) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto source = *found;
  json about{{"trigger", "fork"}};
  auto row = co_await take_snapshot(id, std::move(about));
  if (!row) co_return row.error();
  std::vector<std::string> made;
  std::optional<error> failure;
  for (unsigned i = 0; i < count && !failure; ++i) {
    create_request request;
    request.wanted =
        copy_for_fork(source->rec, name.empty() || count == 1 ? name : name + "-" + std::to_string(i + 1));
    request.from_snapshot = (*row)["id"].get<std::string>();
    auto one = co_await create(std::move(request));
    if (one)
      made.push_back(one->id);
    else
      failure = one.error();
  }
  for (const auto& one : made) co_await wait_settled(one, settle_limit);
  (void)co_await drop_snapshot(std::move(*row));
  for (const auto& one : made) {
    auto now = find(one);
    if (!failure && now && (*now)->rec.failure) failure = (*now)->rec.failure;
  }
  if (!failure) co_return made;
  for (const auto& one : made) (void)co_await destroy(one, "fork_failed");
  co_return *failure;
}

asio::awaitable<void> manager::keep_idle(std::shared_ptr<live> l) {
  const std::string id = l->rec.id;
  json about{{"trigger", "auto"}, {"name", "idle"}, {"description", "when it was paused for being idle"}};
  auto taken = co_await take_snapshot(id, std::move(about));
  if (!taken) {
    if (taken.error().code == errc::unsupported) co_return;
    json told{{"phase", "snapshot"}, {"reason", taken.error().reason}, {"message", taken.error().message}};
    (void)co_await note(l, "error", std::move(told));
    co_return;
  }
  // One is kept: the newest.
  auto rows = co_await snapshot_rows();
  if (!rows) co_return;
  for (auto& row : *rows) {
    const bool older = row.value("sandbox_id", "") == id && row.value("trigger", "") == "auto" &&
                       row.value("status", "") == "completed" && row["id"] != (*taken)["id"];
    if (older) (void)co_await drop_snapshot(std::move(row));
  }
}

task<void> manager::adopt_snapshots() {
  auto rows = co_await snapshot_rows();
  if (!rows) co_return rows.error();
  for (auto& row : *rows) {
    if (row.value("status", "") != "pending") continue;
    const auto id = row["id"].get<std::string>();
    if (auto gone = co_await drop_snapshot(std::move(row)); !gone)
      parts_.log(log_level::warn, "the unfinished snapshot " + id + " could not be removed: " + describe(gone.error()));
  }
  co_return result<void>{};
}

task<json> manager::export_snapshot(std::string snapshot_id, int fd) {
  auto row = co_await snapshot_row(snapshot_id);
  vmm_archive* archives = nullptr;
  if (row) {
    auto found = archives_of(*row);
    if (found)
      archives = *found;
    else
      row = found.error();
  }
  if (!row) {
    ::close(fd);
    co_return row.error();
  }
  auto done = co_await archives->export_snapshot(snapshot_id, fd);
  if (!done) co_return done.error();
  co_return std::move(*row);
}

task<json> manager::import_snapshot(std::string id, json about, int fd) {
  auto one_at_a_time = co_await snapshots_.lock();
  auto found = find(id);
  result<vmm_archive*> archives = nullptr;
  result<std::uint64_t> room = std::uint64_t{0};
  if (found) {
    json of{{"backend", (*found)->rec.backend}};
    archives = archives_of(of);
    if (archives) room = co_await snapshot_room((*found)->rec, "manual");
  }
  if (!found || !archives || !room) {
    ::close(fd);
    co_return !found ? found.error() : !archives ? archives.error() : room.error();
  }
  const record& rec = (*found)->rec;
  json row{{"id", random_id("snap-", 12)},
           {"sandbox_id", id},
           {"name", about.value("name", "")},
           {"description", about.value("description", "")},
           {"status", "pending"},
           {"trigger", "manual"},
           {"size_bytes", *room},  // set aside until it is known
           {"backend", rec.backend},
           {"template", rec.template_name},
           {"owner_key", rec.owner_key},
           {"created_at", base::format_time(base::now_us())},
           {"completed_at", nullptr}};
  const auto snapshot_id = row["id"].get<std::string>();
  write pending = put_of(row);
  if (auto kept = co_await commit_one(std::move(pending)); !kept) {
    ::close(fd);
    co_return kept.error();
  }
  one_at_a_time = {};  // the sender may be slow
  auto read = co_await (*archives)->import_snapshot(snapshot_id, fd, *room);
  result<void> saved;
  if (read) {
    row["size_bytes"] = read->bytes;
    row["status"] = "completed";
    row["completed_at"] = base::format_time(base::now_us());
    json fact{{"phase", "snapshot"}, {"snapshot", snapshot_id}, {"trigger", "upload"}, {"size_bytes", read->bytes}};
    std::vector<write> writes;
    writes.push_back(put_of(row));
    saved = co_await save_with(*found, "lifecycle", std::move(fact), {}, std::move(writes));
  } else {
    saved = read.error();
  }
  if (saved) co_return row;
  const error failure = saved.error();
  (void)co_await drop_snapshot(std::move(row));
  co_return failure;
}

result<vmm_archive*> manager::archives_of(const json& row) const {
  record owner;
  owner.backend = row.value("backend", "");
  auto backend = backend_of(owner);
  if (!backend) return backend.error();
  if (auto* archives = (*backend)->extension<vmm_archive>()) return archives;
  return fail(errc::unsupported, "backend_lacks_ability",
              "the backend " + owner.backend + " cannot make or read archives of snapshots",
              "Use a sandbox of the backend jail.");
}

}  // namespace caged::sandbox
