// What a sandbox is made of: its template, built where it is missing, and what its init script left the last time.
#include <fcntl.h>
#include <algorithm>
#include <caged/owned_fd.hpp>
#include <caged/random.hpp>

#include "core/base/time.hpp"
#include "core/runtime/loop.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

constexpr std::size_t most_layers = 64;
constexpr std::uint64_t most_layer_bytes = 4ull << 30;

write put_of(const json& row) {
  write put;
  put.kind = "layer";
  put.id = row["id"].get<std::string>();
  put.body = row;
  return put;
}

write erase_of(const std::string& id) {
  write gone;
  gone.what = write::op::erase;
  gone.kind = "layer";
  gone.id = id;
  return gone;
}

}  // namespace

// A step that takes minutes is seen in the sandbox's journal while it runs.
task<void> manager::prepare_template(std::shared_ptr<live> l) {
  const record& r = l->rec;
  l->image = r.template_name;
  auto backend = backend_of(r);
  if (!backend) co_return backend.error();
  if (r.template_name == "host" || (*backend)->extension<vmm_templates>() == nullptr) co_return result<void>{};
  auto tell = [this, weak = std::weak_ptr<live>(l)](std::string step) {
    auto box = weak.lock();
    if (!box) return;
    event e;
    e.session_id = box->rec.session_id;
    e.sandbox_id = box->rec.id;
    e.type = "lifecycle";
    e.time_us = base::now_us();
    e.data = {{"phase", "setup"}, {"step", "template"}, {"message", std::move(step)}};
    parts_.journal->publish(std::move(e));
  };
  auto image = co_await templates_.ready(r.template_name, r.packages, l->granted, std::move(tell));
  if (!image) co_return image.error();
  l->image = std::move(*image);
  co_return result<void>{};
}

// Everything that what the script leaves may depend on. Empty: it cannot be known, or must not be kept.
task<std::string> manager::layer_key(std::shared_ptr<live> l, std::filesystem::path repository) {
  const record& r = l->rec;
  if (r.init_script.empty() || !r.secrets.empty()) co_return std::string();
  std::string content = r.repo.commit;
  if (content.empty() && !repository.empty()) {
    auto reading = [repository]() -> result<tree_sum> {
      const owned_fd top(::open(repository.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!top) return errno_error(errno, "read the repository");
      return sum_tree(top.get(), depth::contents);
    };
    auto sum = co_await runtime::on_pool(parts_.blocking, std::move(reading));
    if (!sum) co_return std::string();
    content = sum->digest;
  }
  const json what{{"backend", r.backend},
                  {"template", l->image},
                  {"digest", templates_.digest_of(l->image)},
                  {"owner", r.owner_key},
                  {"repo", r.repo.url},
                  {"subdirectory", r.repo.subdirectory},
                  {"content", content},
                  {"env", r.env},
                  {"script", r.init_script},
                  {"network", r.network_mode},
                  {"allowlist", r.allowlist}};
  co_return sha256_hex(to_text(what));
}

task<std::vector<json>> manager::layer_rows() {
  std::vector<json> rows;
  auto page = co_await parts_.records->list("layer", "", 1000);
  if (!page) co_return page.error();
  for (auto& row : *page) rows.push_back(std::move(row.body));
  co_return rows;
}

task<std::string> manager::find_layer(std::string key) {
  if (key.empty()) co_return std::string();
  auto row = co_await parts_.records->get("layer", "layer-" + key.substr(0, 32));
  if (!row) co_return row.error();
  if (!*row || (*row)->body.value("key", "") != key) co_return std::string();
  json used = (*row)->body;
  used["used_us"] = base::now_us();
  write put = put_of(used);
  if (auto kept = co_await commit_one(std::move(put)); !kept) co_return kept.error();
  co_return used["id"].get<std::string>();
}

task<void> manager::drop_layer(std::string id, std::string backend_name) {
  record owner;
  owner.backend = std::move(backend_name);
  if (auto backend = backend_of(owner))
    if (auto removed = co_await (*backend)->remove_snapshot(id); !removed) co_return removed.error();
  write gone = erase_of(id);
  co_return co_await commit_one(std::move(gone));
}

// Failing to keep it costs the next sandbox time, not this one anything.
task<void> manager::keep_layer(std::shared_ptr<live> l, std::string key) {
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  const std::string id = "layer-" + key.substr(0, 32);
  auto taken = co_await (*backend)->snapshot(l->rec.id, id, most_layer_bytes);
  if (!taken && taken.error().code != errc::conflict) co_return taken.error();
  json row{{"id", id},
           {"key", key},
           {"backend", l->rec.backend},
           {"template", l->rec.template_name},
           {"size_bytes", taken ? taken->bytes : 0},
           {"used_us", base::now_us()}};
  write put = put_of(row);
  if (auto kept = co_await commit_one(std::move(put)); !kept) co_return kept.error();
  auto rows = co_await layer_rows();
  if (!rows || rows->size() <= most_layers) co_return result<void>{};
  const auto oldest = std::min_element(rows->begin(), rows->end(),
                                       [](const json& a, const json& b) { return a["used_us"] < b["used_us"]; });
  co_return co_await drop_layer((*oldest)["id"].get<std::string>(), oldest->value("backend", ""));
}

task<void> manager::remove_template(std::string name) {
  for (const auto& l : all()) {
    const state s = l->rec.status;
    const bool lives = s == state::pending || s == state::running || s == state::paused;
    if (lives && (l->rec.template_name == name || l->image == name))
      co_return fail(errc::conflict, "template_in_use",
                     "the template \"" + name + "\" is under the sandbox " + l->rec.id + ", which lives",
                     "Destroy it first: `caged destroy " + l->rec.id + "`.", "/template");
  }
  if (auto removed = co_await templates_.remove(name); !removed) co_return removed.error();
  auto rows = co_await layer_rows();
  if (!rows) co_return rows.error();
  for (const auto& row : *rows)
    if (row.value("template", "") == name)
      if (auto gone = co_await drop_layer(row["id"].get<std::string>(), row.value("backend", "")); !gone)
        co_return gone.error();
  if (auto listed = co_await list_images(); !listed) co_return listed.error();
  for (const auto& l : all())
    if (l->rec.status == state::pending) co_return result<void>{};  // what is being made is in nobody's list yet
  co_return co_await templates_.sweep();
}

}  // namespace caged::sandbox
