// From a request to a running sandbox: box, repository, software, init script. Each step is a fact in the journal.
#include "core/runtime/deadline.hpp"
#include "core/runtime/loop.hpp"
#include "core/sandbox/exec.hpp"
#include "core/sandbox/manager.hpp"
#include "core/sandbox/repository.hpp"

namespace caged::sandbox {
namespace {

constexpr auto make_limit = std::chrono::seconds(60);
constexpr auto init_limit = std::chrono::seconds(600);
constexpr auto unpack_limit = std::chrono::seconds(600);

std::string tail(const std::string& text, std::size_t limit) {
  return text.size() <= limit ? text : "…" + text.substr(text.size() - limit);
}

// A sandbox that has a box already gets another one in its place.
task<box_info> begin_box(vmm_backend& backend, box_spec spec, state now) {
  if (now == state::pending) return backend.make(std::move(spec));
  return backend.restore(std::move(spec));
}

}  // namespace

asio::awaitable<void> manager::set_up(std::shared_ptr<live> l, std::string repo_token) {
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status != state::pending) co_return;  // destroyed before it began
  const bool from_template = l->from_snapshot.empty();
  result<void> step;
  if (from_template)
    step = co_await build_up(l, std::move(repo_token));
  else
    step = co_await make_box(l);
  l->from_snapshot.clear();
  const bool brought_in = from_template && (!l->rec.repo.url.empty() || !l->rec.init_script.empty());
  if (step && brought_in) {
    // What the user's commands change is told apart from what set-up brought in. The backend's own mark is the start.
    auto backend = backend_of(l->rec);
    auto marked = co_await (*backend)->mark_files(l->rec.id);
    if (!marked && marked.error().code != errc::unsupported) step = marked.error();
  }
  if (step) {
    json fact{{"phase", "running"}};
    step = co_await become(l, state::running, std::move(fact));
  }
  if (step) {
    l->last_used = std::chrono::steady_clock::now();
    co_return;
  }
  const error failure = step.error();
  parts_.log(log_level::warn, "sandbox " + l->rec.id + " could not be set up: " + describe(failure));
  l->rec.failure = failure;
  l->rec.ended_reason = "setup_failed";
  drop_client(*l);
  if (auto backend = backend_of(l->rec)) {
    auto removed = co_await (*backend)->destroy(l->rec.id);
    if (!removed && removed.error().code != errc::not_found)
      parts_.log(log_level::error, "the box of " + l->rec.id + " could not be removed: " + describe(removed.error()));
  }
  json fact{{"phase", "error"}, {"reason", failure.reason}, {"message", failure.message}, {"action", failure.action}};
  (void)co_await become(l, state::error, std::move(fact));
}

// A box of a template, or of what the same set-up left the last time.
task<void> manager::build_up(std::shared_ptr<live> l, std::string token) {
  const record& r = l->rec;
  if (auto ready = co_await prepare_template(l); !ready) co_return ready.error();
  std::filesystem::path repository;
  result<void> step;
  if (!r.repo.url.empty()) {
    auto fetched = co_await fetch_repository(l, std::move(token));
    if (fetched)
      repository = std::move(*fetched);
    else
      step = fetched.error();
  }
  std::string key;
  if (step && !r.init_script.empty()) {
    auto known = co_await layer_key(l, repository);
    if (known) key = std::move(*known);
    auto layer = co_await find_layer(key);
    if (layer && !layer->empty()) {
      l->from_snapshot = *layer;
      step = co_await make_box(l);
      l->from_snapshot.clear();
      if (step) {
        json fact{{"phase", "setup"}, {"step", "init_script"}, {"cached", true}, {"layer", *layer}};
        fact["message"] = "the init script has run before on the same files: its result was taken";
        step = co_await note(l, "lifecycle", std::move(fact));
        co_await forget_staging(l);
        co_return step;
      }
      parts_.log(log_level::warn, "the layer " + *layer + " is dropped: " + describe(step.error()));
      step = co_await drop_layer(*layer, r.backend);
    }
  }
  if (step) step = co_await make_box(l);
  if (step && !repository.empty()) step = co_await unpack_repository(l, repository);
  co_await forget_staging(l);
  if (step && !(r.packages.empty() && r.agents.empty())) step = co_await check_software(l);
  if (!step || r.init_script.empty()) co_return step;
  auto backend = backend_of(r);
  auto before = co_await (*backend)->usage(r.id);
  step = co_await run_init(l);
  if (!step || key.empty()) co_return step;
  auto after = co_await (*backend)->usage(r.id);
  // Processes that the script left running are part of its result, and files alone would not bring them back.
  if (before && after && after->tasks.value_or(1) <= before->tasks.value_or(0)) {
    if (auto kept = co_await keep_layer(l, std::move(key)); !kept && kept.error().code != errc::unsupported)
      parts_.log(log_level::warn, "what the init script left is not kept: " + describe(kept.error()));
  }
  co_return step;
}

asio::awaitable<void> manager::forget_staging(std::shared_ptr<live> l) {
  auto cleaning = [staging = parts_.staging / l->rec.id] {
    std::error_code ignored;
    std::filesystem::remove_all(staging, ignored);
    return 0;
  };
  co_await runtime::on_pool(parts_.blocking, std::move(cleaning));
}

task<void> manager::make_box(std::shared_ptr<live> l) {
  const record& r = l->rec;
  auto backend = backend_of(r);
  if (!backend) co_return backend.error();
  box_spec spec;
  spec.id = r.id;
  spec.image = l->image.empty() ? r.template_name : l->image;
  spec.cpus = r.cpus;
  spec.memory_bytes = static_cast<std::uint64_t>(r.memory_mb) << 20;
  spec.disk_bytes = static_cast<std::uint64_t>(r.disk_gb) << 30;
  spec.max_processes = parts_.config->limits.max_processes;
  spec.network_mode = r.network_mode;
  spec.env = r.env;
  for (const auto& [key, value] : templates_.environment_of(r.template_name)) spec.env.try_emplace(key, value);
  spec.env.try_emplace("CAGED_SANDBOX_ID", r.id);
  if (parts_.add_environment)
    if (auto added = parts_.add_environment(r, spec.env); !added) co_return added.error();
  spec.accept_missing = parts_.config->accept_missing;
  spec.snapshot = l->from_snapshot;
  auto making = begin_box(**backend, std::move(spec), r.status);
  auto info = co_await runtime::within<box_info>(make_limit, "making the box of " + r.id, std::move(making));
  if (!info) co_return info.error();
  l->rec.walls = info->walls;
  l->rec.missing_walls = info->missing;
  watch(l);
  if (auto opened = co_await open_network(l); !opened) co_return opened.error();
  auto dial = (*backend)->connect(r.id);
  auto stream = co_await runtime::within<box_stream>(std::chrono::seconds(10), "connecting to the agent of " + r.id,
                                                     std::move(dial));
  if (!stream) co_return stream.error();
  auto client = co_await agent_client::open(parts_.executor, std::move(*stream));
  if (!client) co_return client.error();
  attach(l, *client);
  co_return result<void>{};
}

task<std::filesystem::path> manager::fetch_repository(std::shared_ptr<live> l, std::string token) {
  json begun{{"phase", "setup"}, {"step", "repository"}, {"message", "fetching " + l->rec.repo.url}};
  if (auto noted = co_await note(l, "lifecycle", std::move(begun)); !noted) co_return noted.error();
  fetch_request want;
  want.repo = l->rec.repo;
  want.token = std::move(token);
  want.staging = parts_.staging / l->rec.id;
  want.roots = parts_.config->repo_roots;
  // Named, not written into the await: gcc 12 destroys such a temporary twice.
  auto fetching = [want] { return fetch_to_host(want); };
  auto fetched = co_await runtime::on_pool(parts_.blocking, std::move(fetching));
  if (!fetched) co_return fetched.error();
  if (l->rec.repo.commit.empty()) l->rec.repo.commit = fetched->commit;
  co_return fetched->folder;
}

task<void> manager::unpack_repository(std::shared_ptr<live> l, std::filesystem::path folder) {
  auto packed = pack_folder(parts_.executor, parts_.blocking, folder);
  if (!packed) co_return packed.error();
  co_return co_await unpack(l, *packed);
}

// The archive is taken apart inside the box, by the box's own tar: hostile names cannot reach the host.
task<void> manager::unpack(std::shared_ptr<live> l, std::shared_ptr<byte_source> tar) {
  exec_request want;
  want.arguments = {{"argv", {"tar", "-x", "--no-same-owner", "-f", "-", "-C", "/workspace"}}, {"cwd", "/"}};
  want.stdin_bytes = std::move(tar);
  want.limit = unpack_limit;
  want.keep = 64 * 1024;
  auto done = co_await exec_buffered(l->client, std::move(want));
  if (!done) co_return done.error();
  if (done->exit.value("exit_code", json(-1)) != json(0))
    co_return fail(errc::unavailable, "unpack_failed",
                   "the repository could not be unpacked in the sandbox: " + tail(done->err, 2000),
                   "Give the sandbox more disk or memory, or look at the text for the cause.");
  co_return result<void>{};
}

task<void> manager::check_software(std::shared_ptr<live> l) {
  std::string script = "missing=; for p in";
  for (const auto& name : l->rec.packages) script += " '" + name + "'";
  script +=
      "; do dpkg-query -W -f '${Status}' \"$p\" 2>/dev/null | grep -q 'ok installed' || command -v \"$p\" >/dev/null "
      "|| missing=\"$missing $p\"; done; for a in";
  for (const auto& name : l->rec.agents) script += " '" + name + "'";
  script +=
      "; do c=$a; [ \"$a\" = claude-code ] && c=claude; command -v \"$c\" >/dev/null || missing=\"$missing $a\"; done; "
      "echo $missing";
  exec_request want;
  want.arguments = {{"command", script}, {"cwd", "/"}};
  want.limit = std::chrono::seconds(60);
  auto done = co_await exec_buffered(l->client, std::move(want));
  if (!done) co_return done.error();
  std::string missing = done->out;
  while (!missing.empty() && (missing.back() == '\n' || missing.back() == ' ')) missing.pop_back();
  if (!missing.empty())
    co_return fail(errc::unsupported, "software_missing",
                   "template \"" + l->rec.template_name + "\" does not hold: " + missing +
                       "; and a sandbox without network cannot install it",
                   "Install it on the host (template host shows the host's software), or leave it out.", "/packages");
  co_return result<void>{};
}

task<void> manager::run_init(std::shared_ptr<live> l) {
  const auto start = std::chrono::steady_clock::now();
  json begun{{"phase", "setup"}, {"step", "init_script"}, {"message", "running the init script"}};
  if (auto noted = co_await note(l, "lifecycle", std::move(begun)); !noted) co_return noted.error();
  exec_request want;
  want.arguments = {{"command", l->rec.init_script}, {"cwd", "/workspace"}};
  want.limit = init_limit;
  want.keep = 64 * 1024;
  auto done = co_await exec_buffered(l->client, std::move(want));
  if (!done) co_return done.error();
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  json fact{{"phase", "setup"},
            {"step", "init_script"},
            {"exit", done->exit},
            {"stdout", to_utf8(tail(done->out, 16000))},
            {"stderr", to_utf8(tail(done->err, 16000))}};
  fact["message"] = "the init script ended: " + done->exit.dump();
  if (auto noted = co_await note(l, "lifecycle", std::move(fact), took); !noted) co_return noted.error();
  if (done->exit.value("exit_code", json(-1)) != json(0))
    co_return fail(errc::invalid_argument, "init_script_failed",
                   "the init script failed (" + done->exit.dump() +
                       "): " + to_utf8(tail(done->err.empty() ? done->out : done->err, 2000)),
                   "Mend the script; its whole output is in `caged logs " + l->rec.id + "`.", "/init_script");
  co_return result<void>{};
}

}  // namespace caged::sandbox
