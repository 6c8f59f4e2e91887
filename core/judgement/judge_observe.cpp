// Observers: every fact of the journal is told to the policies, once, also across restarts.
#include "core/base/time.hpp"
#include "core/judgement/agent_kind.hpp"
#include "core/judgement/judge.hpp"
#include "core/judgement/seen.hpp"
#include "core/runtime/deadline.hpp"

namespace caged::judgement {
namespace {

constexpr auto keep_every = std::chrono::seconds(2);
constexpr std::int64_t context_life_us = 1'000'000;

bool ends_session(const event& e) {
  const auto to = e.type == "lifecycle" && e.data.is_object() ? e.data.value("to", "") : std::string();
  const auto action = e.type == "lifecycle" && e.data.is_object() ? e.data.value("action", "") : std::string();
  return to == "destroyed" || action == "session_ended";
}

}  // namespace

task<void> judge::start() {
  if (auto loaded = engines_.open(); !loaded) co_return loaded.error();
  if (auto restored = co_await approvals_.restore(); !restored) co_return restored.error();
  auto position = co_await book_.position();
  if (!position) co_return position.error();
  position_ = *position;
  // A journal older than its judge is not judged in retrospect.
  auto last = parts_.journal->stats().last_id;
  if (position_ == 0) position_ = last;
  work_.spawn("policies on facts", observe());
  work_.spawn("trust's clock", keep());
  co_return result<void>{};
}

asio::awaitable<void> judge::stop() {
  work_.cancel();
  co_await work_.join();
  if (auto kept = co_await book_.flush(position_); !kept)
    parts_.log(log_level::error, "trust could not be stored: " + describe(kept.error()));
}

asio::awaitable<void> judge::observe() {
  journal::follow_query q;
  q.after_id = position_;
  auto facts = parts_.journal->read_on(std::move(q));
  while (true) {
    auto e = co_await facts->next_event();
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    if (!e) {
      parts_.log(log_level::error, "policies cannot read the journal: " + describe(e.error()));
      co_await runtime::sleep_for(std::chrono::seconds(1));
      continue;
    }
    if (!*e) co_return;
    const std::uint64_t id = (**e).id;
    event fact = std::move(**e);
    if (auto looked = co_await look_at(std::move(fact)); !looked)
      parts_.log(log_level::error, "event " + std::to_string(id) + " could not be judged: " + describe(looked.error()));
    position_ = id;
    moved_.cancel();
  }
}

asio::awaitable<void> judge::keep() {
  while (true) {
    co_await runtime::sleep_for(keep_every);
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    if (auto kept = co_await book_.flush(position_); !kept)
      parts_.log(log_level::error, "trust could not be stored: " + describe(kept.error()));
    for (const auto& problem : engines_.refresh()) {
      parts_.log(log_level::error, "changed policies do not load, the old stay in force: " + describe(problem));
      event e;
      e.session_id = journal::host_session;
      e.type = "policy_error";
      e.time_us = base::now_us();
      e.data = {{"policy", ""}, {"reason", "reload_failed"}, {"message", problem.message}, {"action", problem.action}};
      parts_.journal->publish(std::move(e));
    }
  }
}

const json& judge::context(trust_page& page, const event& e) {
  const auto now = base::now_us();
  if (page.context.is_null() || now - page.context_us > context_life_us || e.type == "lifecycle") {
    auto who = parts_.subject_of(page.sandbox_id);
    subject about = who ? std::move(*who) : subject{};
    about.sandbox_id = page.sandbox_id;
    about.session_id = page.session_id;
    page.context = to_context(about, page.score.score());
    page.context_us = now;
  }
  return page.context;
}

task<void> judge::look_at(event e) {
  if (e.sandbox_id.empty() || e.session_id == journal::host_session) co_return result<void>{};
  const std::uint64_t id = e.id;
  const bool last = ends_session(e);
  auto seen = as_seen(std::move(e));
  if (!seen) co_return result<void>{};
  auto page = book_.find(seen->session_id);
  if (!page) {
    auto who = parts_.subject_of(seen->sandbox_id);
    auto engine = engines_.find(who ? who->account : std::string(), who ? who->policies : json::array());
    if (!engine) co_return engine.error();
    auto opened = co_await book_.open(seen->session_id, seen->sandbox_id, *engine);
    if (!opened) co_return opened.error();
    page = *opened;
  }
  if (id <= page->observed) co_return result<void>{};
  if (page->agent.empty() && seen->type == "command") page->agent = agent_of(seen->data);
  if (!page->agent.empty() && !std::exchange(page->agent_told, true))
    (void)co_await parts_.agent_seen(page->session_id, page->agent);
  const policy::verdict v = page->engine->observe(*seen, context(*page, *seen));
  page->observed = id;
  page->dirty = true;
  page->ended = page->ended || last;
  tell(v.failures, *seen);
  if (!v.deductions.empty() || v.kind == policy::verdict_kind::annotate) {
    if (auto settled = co_await settle(page, v, *seen); !settled) co_return settled.error();
  }
  follow_up(page->sandbox_id, v);
  co_return result<void>{};
}

task<void> judge::settle(std::shared_ptr<trust_page> page, const policy::verdict v, const event about) {
  std::vector<event> events;
  const auto fact = [&](const char* type, json data) {
    event e;
    e.session_id = page->session_id;
    e.sandbox_id = page->sandbox_id;
    e.type = type;
    e.time_us = about.time_us;
    e.data = std::move(data);
    e.data["event"] = {{"id", about.id}, {"sequence", about.sequence}, {"type", about.type}};
    events.push_back(std::move(e));
  };
  const int before = page->score.score();
  page->score.apply(v, about);
  const int after = page->score.score();
  page->updated_us = about.time_us;
  page->context = nullptr;
  double lost = 0;
  for (const auto& d : v.deductions) {
    lost += d.points;
    json data{{"rule", d.rule},     {"points", d.points}, {"reason", d.reason}, {"advice", d.advice},
              {"policy", d.policy}, {"score", std::max(0, static_cast<int>(before - lost))},
              {"band", policy::band_of(after).name}};
    if (&d == &v.deductions.back()) data["score"] = after;
    fact("trust", std::move(data));
  }
  for (const auto& a : v.annotations) fact("policy", {{"annotation", a.value}, {"policy", a.policy}});
  if (v.kind == policy::verdict_kind::pause || v.kind == policy::verdict_kind::kill)
    fact("policy", {{"verdict", v.to_json()}});
  std::vector<write> writes;
  writes.push_back(book_.put(*page));
  auto done = co_await parts_.journal->append(std::move(events), std::move(writes));
  if (!done) {
    page->dirty = true;
    co_return done.error();
  }
  co_return result<void>{};
}

std::optional<int> judge::score(const std::string& session_id) const {
  const auto page = book_.find(session_id);
  if (!page) return std::nullopt;
  return page->score.score();
}

asio::awaitable<void> judge::catch_up() {
  (void)co_await parts_.journal->flush();
  const auto wanted = parts_.journal->stats().last_id;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  asio::steady_timer own(parts_.executor, end);
  while (position_ < wanted && std::chrono::steady_clock::now() < end) {
    using namespace asio::experimental::awaitable_operators;
    auto outcome = co_await (own.async_wait(asio::as_tuple(asio::use_awaitable)) ||
                             moved_.async_wait(asio::as_tuple(asio::use_awaitable)));
    if (outcome.index() == 0) co_return;
  }
}

task<json> judge::trust(std::string session_id, std::string sandbox_id) {
  co_await catch_up();
  co_return co_await book_.show(std::move(session_id), std::move(sandbox_id));
}

}  // namespace caged::judgement
