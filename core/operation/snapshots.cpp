// Snapshots, their archives, and forks. What a backend lacks it answers itself: unsupported.
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

using local_socket = asio::local::stream_protocol::socket;
constexpr timeval slowest{60, 0};  // for one piece of an archive; a pool thread waits that long

json shown(json row) {
  row.erase("owner_key");
  return row;
}

std::string text_of(const json& arguments, const char* key) { return arguments.value(key, std::string()); }

// One end for us, one for the backend, which reads and writes it on the pool.
result<int> socket_pair(local_socket& ours) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno_error(errno, "make a socket pair");
  (void)::setsockopt(ends[1], SOL_SOCKET, SO_SNDTIMEO, &slowest, sizeof slowest);
  (void)::setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &slowest, sizeof slowest);
  boost::system::error_code ec;
  ours.assign(asio::local::stream_protocol(), ends[0], ec);
  if (!ec) return ends[1];
  ::close(ends[0]);
  ::close(ends[1]);
  return errno_error(ec.value(), "use a socket pair");
}

// How an archive that is being written has ended; known before its last piece is given out.
struct outcome {
  explicit outcome(asio::any_io_executor executor) : known(executor, asio::steady_timer::time_point::max()) {}
  std::optional<result<void>> done;
  asio::steady_timer known;
};

class archive_source : public byte_source {
 public:
  archive_source(local_socket from, std::shared_ptr<outcome> end) : from_(std::move(from)), end_(std::move(end)) {}
  task<std::string> read() override {
    std::string piece(256 * 1024, '\0');
    auto [ec, n] = co_await from_.async_read_some(asio::buffer(piece), use_tuple);
    if (ec && ec != asio::error::eof) co_return errno_error(ec.value(), "read the archive");
    piece.resize(n);
    if (n != 0) co_return piece;
    if (!end_->done) (void)co_await end_->known.async_wait(use_tuple);
    if (!end_->done) co_return fail(errc::cancelled, "cancelled", "the download was cancelled");
    if (!*end_->done) co_return end_->done->error();
    co_return std::string();
  }

 private:
  local_socket from_;
  std::shared_ptr<outcome> end_;
};

task<reply> create(services* s, call c) {
  json about{{"name", text_of(c.arguments, "name")}, {"description", text_of(c.arguments, "description")}};
  auto row = co_await s->sandboxes->take_snapshot(c.arguments["id"].get<std::string>(), std::move(about));
  if (!row) co_return row.error();
  co_return answer(shown(std::move(*row)));
}

task<reply> list_all(services* s, call c) {
  const auto sandbox = c.arguments["id"].get<std::string>();
  if (auto box = co_await s->sandboxes->recall(sandbox); !box) co_return box.error();
  auto rows = co_await s->sandboxes->snapshot_rows();
  if (!rows) co_return rows.error();
  json out = json::array();
  for (auto& row : *rows) {
    if (row.value("sandbox_id", "") == sandbox && row.value("trigger", "") != "fork")
      out.push_back(shown(std::move(row)));
  }
  std::sort(out.begin(), out.end(), [](const json& a, const json& b) { return a["created_at"] < b["created_at"]; });
  co_return answer(std::move(out));
}

task<reply> get(services* s, call c) {
  auto row = co_await s->sandboxes->snapshot_row(c.arguments["snapshot"].get<std::string>());
  if (!row) co_return row.error();
  co_return answer(shown(std::move(*row)));
}

task<reply> remove(services* s, call c) {
  auto done = co_await s->sandboxes->delete_snapshot(c.arguments["snapshot"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> restore(services* s, call c) {
  std::string target = text_of(c.arguments, "target_sandbox_id");
  if (target.empty()) target = text_of(c.arguments, "sandbox_id");
  auto done = co_await s->sandboxes->restore_snapshot(c.arguments["snapshot"].get<std::string>(), std::move(target));
  if (!done) co_return done.error();
  co_return answer({{"status", "restored"}});
}

task<reply> fork(services* s, call c) {
  auto& m = *s->sandboxes;
  const auto id = c.arguments["id"].get<std::string>();
  auto source = m.find(id);
  if (!source) co_return source.error();
  sandbox::record wanted = (*source)->rec;
  const auto count = c.arguments.value("count", 1u);
  for (unsigned i = 0; i < count; ++i) {
    if (auto allowed = co_await permit_create(s, wanted); !allowed) co_return allowed.error();
  }
  auto made = co_await m.fork(id, text_of(c.arguments, "name"), count);
  if (!made) co_return made.error();
  json rows = json::array();
  for (const auto& one : *made) {
    if (auto l = m.find(one)) rows.push_back(to_api((*l)->rec, base::now_us()));
  }
  if (!c.arguments.contains("count")) co_return answer(std::move(rows.at(0)));
  co_return answer({{"sandboxes", std::move(rows)}});
}

task<reply> download(services* s, call c) {
  const auto id = c.arguments["snapshot"].get<std::string>();
  auto row = co_await s->sandboxes->snapshot_row(id);
  if (!row) co_return row.error();
  co_return answer({{"url", "/v1/snapshots/" + id + "/download/content"}, {"expires_in_seconds", 3600}});
}

asio::awaitable<void> run_export(sandbox::manager* m, std::string id, int fd, std::shared_ptr<outcome> end) {
  auto done = co_await m->export_snapshot(std::move(id), fd);
  end->done.emplace();
  if (!done) *end->done = done.error();
  end->known.cancel();
}

task<reply> content(services* s, call c) {
  const auto id = c.arguments["snapshot"].get<std::string>();
  auto row = co_await s->sandboxes->snapshot_row(id);
  if (!row) co_return row.error();
  const auto executor = co_await asio::this_coro::executor;
  local_socket ours(executor);
  auto theirs = socket_pair(ours);
  if (!theirs) co_return theirs.error();
  auto end = std::make_shared<outcome>(executor);
  s->sandboxes->run("download of " + id, run_export(s->sandboxes, id, *theirs, end));
  reply r;
  r.bytes = std::make_shared<archive_source>(std::move(ours), end);
  r.media_type = "application/gzip";
  r.headers.emplace_back("Content-Disposition", "attachment; filename=\"" + id + ".tar.gz\"");
  co_return r;
}

task<void> pump(std::shared_ptr<byte_source> from, local_socket to) {
  while (true) {
    auto piece = co_await from->read();
    if (!piece) co_return piece.error();
    if (piece->empty()) co_return result<void>{};
    auto [ec, n] = co_await asio::async_write(to, asio::buffer(*piece), use_tuple);
    if (ec) co_return result<void>{};  // whoever reads has seen enough, and says why
  }
}

task<reply> upload(services* s, call c) {
  if (!c.body)
    co_return fail(errc::invalid_argument, "content_missing", "there is no body", "Send the .tar.gz as the body.");
  local_socket ours(co_await asio::this_coro::executor);
  auto theirs = socket_pair(ours);
  if (!theirs) co_return theirs.error();
  json about{{"name", text_of(c.arguments, "name")}, {"description", text_of(c.arguments, "description")}};
  auto reading = s->sandboxes->import_snapshot(c.arguments["id"].get<std::string>(), std::move(about), *theirs);
  auto sending = pump(c.body, std::move(ours));
  using namespace asio::experimental::awaitable_operators;
  auto both = std::move(reading) && std::move(sending);
  auto [row, sent] = co_await std::move(both);
  if (!row) co_return row.error();
  if (!sent) {
    // What came may look whole and is not.
    (void)co_await s->sandboxes->delete_snapshot((*row)["id"].get<std::string>());
    co_return sent.error();
  }
  co_return answer(shown(std::move(*row)));
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
                                {"target_sandbox_id", text("Another sandbox than the one it was taken of.")},
                                {"sandbox_id", text("The same, as some clients name it.")}},
                               {"snapshot"}),
                 shape);
  info.destructive = true;
  own(std::move(info), "lifecycle", restore);
  info = declare("sandbox.fork", "POST", "/v1/sandboxes/{id}/fork", scope::sandbox,
                 "Make new sandboxes from the present state of another",
                 schema::input({{"id", sandbox_id()},
                                {"name", text("Name of the new one; several are numbered.")},
                                {"count",
                                 {{"type", "integer"},
                                  {"minimum", 1},
                                  {"maximum", 256},
                                  {"description", "How many; the answer is then a list."}}}},
                               {"id"}),
                 shape);
  info.success = 201;
  info.description =
      "The new sandboxes have the files, template, resources and settings of the old one, no processes of it, and a "
      "session of their own. Without `count` the answer is the new sandbox; with it `{sandboxes: […]}`.";
  own(std::move(info), "lifecycle", fork);
  own(declare("snapshot.download", "GET", "/v1/snapshots/{snapshot}/download", scope::read,
              "Say where a snapshot can be downloaded as .tar.gz", by_snapshot, shape),
      "", download);
  info = declare("snapshot.content", "GET", "/v1/snapshots/{snapshot}/download/content", scope::read,
                 "Download a snapshot as .tar.gz", by_snapshot, shape);
  info.description =
      "What the snapshot changes in its template, as an OCI layer: names inside the sandbox, modes, owners, extended "
      "attributes, links and holes; `.wh.NAME` for what was deleted. Streamed.";
  info.gives = payload::bytes;
  own(std::move(info), "", content);
  info = declare("snapshot.upload", "POST", "/v1/sandboxes/{id}/snapshots/upload", scope::sandbox,
                 "Make a snapshot of a .tar.gz",
                 schema::input({{"id", sandbox_id()}, {"name", text("Name.")}, {"description", text("What it is for.")}},
                               {"id"}),
                 shape);
  info.takes = payload::bytes;
  info.success = 201;
  own(std::move(info), "lifecycle", upload);
}

}  // namespace caged::operation
