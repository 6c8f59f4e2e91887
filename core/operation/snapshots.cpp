// Snapshots and forks. What a backend lacks it answers itself: unsupported.
#include <caged/random.hpp>

#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

struct place {
  std::shared_ptr<sandbox::live> box;
  vmm_backend* backend = nullptr;
};

result<place> find(services* s, std::string_view id) {
  auto box = s->sandboxes->find(id);
  if (!box) return box.error();
  auto backend = s->sandboxes->backend_of((*box)->rec);
  if (!backend) return backend.error();
  return place{*box, *backend};
}

task<record> stored(services* s, std::string id) {
  auto row = co_await s->records->get("snapshot", id);
  if (!row) co_return row.error();
  if (!*row)
    co_return fail(errc::not_found, "snapshot_not_found", "there is no snapshot \"" + id + "\"",
                   "List them: GET /v1/sandboxes/{id}/snapshots.", "/snapshot");
  co_return std::move(**row);
}

task<reply> create(services* s, call c) {
  auto at = find(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  const place where = *at;
  auto guard = co_await where.box->lifecycle.lock();
  const std::string id = random_id("snap-", 12);
  if (auto done = co_await where.backend->snapshot(where.box->rec.id, id); !done) co_return done.error();
  const auto now = base::format_time(base::now_us());
  write put;
  put.kind = "snapshot";
  put.id = id;
  put.body = {{"id", id},
              {"sandbox_id", where.box->rec.id},
              {"name", c.arguments["name"]},
              {"description", c.arguments.value("description", "")},
              {"status", "completed"},
              {"trigger", "manual"},
              {"backend", where.box->rec.backend},
              {"created_at", now},
              {"completed_at", now}};
  json body = put.body;
  batch b;
  b.writes.push_back(std::move(put));
  if (auto done = co_await s->records->commit(std::move(b)); !done) {
    (void)co_await where.backend->remove_snapshot(id);
    co_return done.error();
  }
  co_return answer(std::move(body));
}

task<reply> list_all(services* s, call c) {
  const auto sandbox = c.arguments["id"].get<std::string>();
  if (auto box = s->sandboxes->find(sandbox); !box) co_return box.error();
  json rows = json::array();
  std::string after;
  while (true) {
    auto page = co_await s->records->list("snapshot", after, 1000);
    if (!page) co_return page.error();
    for (const auto& row : *page) {
      after = row.id;
      if (row.body.value("sandbox_id", "") == sandbox) rows.push_back(row.body);
    }
    if (page->size() < 1000) break;
  }
  co_return answer(std::move(rows));
}

task<reply> get(services* s, call c) {
  auto row = co_await stored(s, c.arguments["snapshot"].get<std::string>());
  if (!row) co_return row.error();
  co_return answer(row->body);
}

task<reply> remove(services* s, call c) {
  auto row = co_await stored(s, c.arguments["snapshot"].get<std::string>());
  if (!row) co_return row.error();
  sandbox::record owner;
  owner.backend = row->body.value("backend", "");
  auto backend = s->sandboxes->backend_of(owner);
  if (!backend) co_return backend.error();
  if (auto done = co_await (*backend)->remove_snapshot(row->id); !done && done.error().code != errc::not_found)
    co_return done.error();
  write gone;
  gone.what = write::op::erase;
  gone.kind = "snapshot";
  gone.id = row->id;
  batch b;
  b.writes.push_back(std::move(gone));
  if (auto done = co_await s->records->commit(std::move(b)); !done) co_return done.error();
  co_return reply{};
}

task<reply> restore(services* s, call c) {
  auto row = co_await stored(s, c.arguments["snapshot"].get<std::string>());
  if (!row) co_return row.error();
  auto at = find(s, c.arguments.contains("target_sandbox_id") ? c.arguments["target_sandbox_id"].get<std::string>()
                                                              : row->body.value("sandbox_id", ""));
  if (!at) co_return at.error();
  const place where = *at;
  auto guard = co_await where.box->lifecycle.lock();
  if (auto done = co_await where.backend->restore(where.box->rec.id, row->id); !done) co_return done.error();
  co_return answer({{"status", "restored"}});
}

// A fork needs a record and a session of its own; they come with the first backend that can fork.
task<reply> fork(services* s, call c) {
  auto at = find(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  co_return fail(errc::unsupported, "backend_lacks_ability",
                 "the backend " + at->box->rec.backend + " cannot fork a sandbox",
                 "Make a new sandbox from the same repository.");
}

}  // namespace

void add_snapshot_operations(services& s) {
  const json snapshot{{"type", "string"}, {"description", "Id of the snapshot."}, {"minLength", 1}, {"maxLength", 64}};
  const json by_box = schema::input({{"id", sandbox_id()}}, {"id"}),
             by_snapshot = schema::input({{"snapshot", snapshot}}, {"snapshot"});
  const json shape = {{"type", "object"}};
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };

  auto info =
      declare("snapshot.create", "POST", "/v1/sandboxes/{id}/snapshots", scope::sandbox, "Keep the state of a sandbox",
              schema::input({{"id", sandbox_id()}, {"name", text("Name.")}, {"description", text("What it is for.")}},
                            {"id", "name"}),
              shape);
  info.success = 201;
  own(std::move(info), "lifecycle", create);
  own(declare("snapshot.list", "GET", "/v1/sandboxes/{id}/snapshots", scope::read, "List the snapshots of a sandbox",
              by_box, list(shape)),
      "", list_all);
  own(declare("snapshot.get", "GET", "/v1/snapshots/{snapshot}", scope::read, "Show a snapshot", by_snapshot, shape),
      "", get);
  info = declare("snapshot.delete", "DELETE", "/v1/snapshots/{snapshot}", scope::sandbox, "Remove a snapshot",
                 by_snapshot, nothing());
  info.success = 204;
  info.destructive = true;
  own(std::move(info), "lifecycle", remove);
  info = declare("snapshot.restore", "POST", "/v1/snapshots/{snapshot}/restore", scope::sandbox,
                 "Bring a state back, over what the sandbox holds now",
                 schema::input({{"snapshot", snapshot},
                                {"target_sandbox_id", text("Another sandbox than the one it was taken of.")}},
                               {"snapshot"}),
                 shape);
  info.destructive = true;
  own(std::move(info), "lifecycle", restore);
  info = declare("sandbox.fork", "POST", "/v1/sandboxes/{id}/fork", scope::sandbox,
                 "Make a new sandbox from the present state of another", by_box, shape);
  info.success = 201;
  own(std::move(info), "lifecycle", fork);
}

}  // namespace caged::operation
