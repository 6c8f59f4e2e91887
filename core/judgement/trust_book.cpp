#include "core/judgement/trust_book.hpp"

#include "core/base/time.hpp"

namespace caged::judgement {
namespace {

constexpr const char* kind = "trust";

json shown(const policy::trust_score& score, const std::string& session, const std::string& sandbox, std::int64_t us) {
  json body = score.to_json();
  body["session_id"] = session;
  body["sandbox_id"] = sandbox;
  body["updated_at"] = us == 0 ? json(nullptr) : json(base::format_time(us));
  for (auto& d : body["deductions"])
    if (d.contains("time_us")) d["timestamp"] = base::format_time(d["time_us"].get<std::int64_t>());
  return body;
}

}  // namespace

std::shared_ptr<trust_page> trust_book::find(const std::string& session_id) const {
  const auto found = pages_.find(session_id);
  return found == pages_.end() ? nullptr : found->second;
}

task<std::shared_ptr<trust_page>> trust_book::open(std::string session_id, std::string sandbox_id,
                                                   std::shared_ptr<policy::policy_engine> engine) {
  if (auto known = find(session_id)) co_return known;
  auto stored = co_await records_.get(kind, session_id);
  if (!stored) co_return stored.error();
  if (auto known = find(session_id)) co_return known;  // opened by another meanwhile
  auto page = std::make_shared<trust_page>();
  page->session_id = session_id;
  page->sandbox_id = std::move(sandbox_id);
  page->engine = std::move(engine);
  if (*stored) {
    const json& body = (*stored)->body;
    auto score = policy::trust_score::from_json(body.value("score", json::object()));
    if (!score) co_return score.error();
    page->score = std::move(*score);
    page->observed = body.value("observed", std::uint64_t{0});
    page->updated_us = body.value("updated_us", std::int64_t{0});
    if (page->engine) page->engine->restore_state(session_id, body.value("state", json::object()));
  }
  pages_.emplace(session_id, page);
  co_return page;
}

task<json> trust_book::show(std::string session_id, std::string sandbox_id) {
  if (auto page = find(session_id)) co_return shown(page->score, session_id, page->sandbox_id, page->updated_us);
  auto stored = co_await records_.get(kind, session_id);
  if (!stored) co_return stored.error();
  if (!*stored) co_return shown(policy::trust_score(), session_id, sandbox_id, 0);
  const json& body = (*stored)->body;
  auto score = policy::trust_score::from_json(body.value("score", json::object()));
  if (!score) co_return score.error();
  co_return shown(*score, session_id, body.value("sandbox_id", sandbox_id), body.value("updated_us", std::int64_t{0}));
}

write trust_book::put(trust_page& page) const {
  write w;
  w.kind = kind;
  w.id = page.session_id;
  w.body = {{"sandbox_id", page.sandbox_id},
            {"score", page.score.to_json()},
            {"observed", page.observed},
            {"updated_us", page.updated_us},
            {"state", page.engine ? page.engine->session_state(page.session_id) : json::object()}};
  page.dirty = false;
  return w;
}

task<void> trust_book::flush(std::uint64_t position) {
  batch b;
  for (auto& [id, page] : pages_)
    if (page->dirty) b.writes.push_back(put(*page));
  if (!b.writes.empty() || position != stored_position_) {
    write w;
    w.kind = "judgement";
    w.id = "position";
    w.body = {{"event_id", position}};
    b.writes.push_back(std::move(w));
    auto done = co_await records_.commit(std::move(b));
    if (!done) {
      for (auto& [id, page] : pages_) page->dirty = true;  // asked again next time
      co_return done.error();
    }
    stored_position_ = position;
  }
  std::erase_if(pages_, [](const auto& entry) {
    trust_page& page = *entry.second;
    if (!page.ended || page.dirty) return false;
    if (page.engine) page.engine->forget(page.session_id);
    return true;
  });
  co_return result<void>{};
}

task<std::uint64_t> trust_book::position() {
  auto stored = co_await records_.get("judgement", "position");
  if (!stored) co_return stored.error();
  stored_position_ = *stored ? (*stored)->body.value("event_id", std::uint64_t{0}) : 0;
  co_return stored_position_;
}

}  // namespace caged::judgement
