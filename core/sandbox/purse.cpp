#include "core/sandbox/purse.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <caged/random.hpp>
#include <cmath>

#include "core/base/file.hpp"
#include "core/base/time.hpp"
#include "core/meter/compute_price.hpp"

namespace caged::sandbox {
namespace {

constexpr std::string_view token_prefix = "caged_box_";
constexpr const char* reservation_kind = "reservation";
constexpr const char* usage_kind = "usage";
constexpr const char* budgets_kind = "budgets";

error refused() {
  return fail(errc::unauthenticated, "bad_token", "the token is no sandbox's",
              "Use the token that the sandbox was given in its environment (CAGED_LLM_TOKEN).");
}

write put(const char* kind, std::string id, json body) {
  write w;
  w.kind = kind;
  w.id = std::move(id);
  w.body = std::move(body);
  return w;
}

write erase(const char* kind, std::string id) {
  write w;
  w.what = write::op::erase;
  w.kind = kind;
  w.id = std::move(id);
  return w;
}

}  // namespace

result<void> purse_keeper::open(const std::filesystem::path& key_file) {
  std::error_code ignored;
  if (!std::filesystem::exists(key_file, ignored)) {
    key_ = random_hex("", 32);
    return base::write_file(key_file, key_ + "\n", 0600);
  }
  auto text = base::read_file(key_file, 1024);
  if (!text) return text.error();
  key_ = text->substr(0, text->find('\n'));
  if (key_.size() == 64) return {};
  return fail(errc::invalid_argument, "bad_token_key", key_file.string() + " does not hold 64 hexadecimal digits",
              "Remove it to make a new one; sandboxes that live now lose their access to models.");
}

std::string purse_keeper::token_of(std::string_view id) const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const unsigned char*>(id.data()),
       id.size(), mac.data(), &size);
  constexpr char digits[] = "0123456789abcdef";
  std::string token(token_prefix);
  token.append(id).append("_");
  for (unsigned i = 0; i < size; ++i) {
    token += digits[mac[i] >> 4];
    token += digits[mac[i] & 15];
  }
  return token;
}

void purse_keeper::offer_environment(std::vector<std::map<std::string, std::string>> groups) {
  offered_.insert(offered_.end(), std::make_move_iterator(groups.begin()), std::make_move_iterator(groups.end()));
}

void purse_keeper::add_environment(std::string_view id, std::map<std::string, std::string>& env) const {
  const std::string token = token_of(id);
  const auto own = env;
  for (const auto& group : offered_) {
    if (std::any_of(group.begin(), group.end(), [&own](const auto& v) { return own.contains(v.first); })) continue;
    for (auto [name, value] : group) {
      if (const auto at = value.find("{token}"); at != std::string::npos) value.replace(at, 7, token);
      env.try_emplace(name, value);
    }
  }
}

task<void> purse_keeper::load(storage& records, caps configured) {
  budgets_ = configured;
  auto set = co_await records.get(budgets_kind, "local");
  if (!set) co_return set.error();
  if (*set) budgets_ = {(**set).body.value("account_micro", std::int64_t{0}), (**set).body.value("session_micro", std::int64_t{0})};
  std::string after;
  while (true) {
    auto rows = co_await records.list(usage_kind, after, 1000);
    if (!rows) co_return rows.error();
    for (auto& row : *rows) {
      after = row.id;
      book_.load(row.id, meter::usage_from_stored(row.body));
    }
    if (rows->size() < 1000) break;
  }
  co_return result<void>{};
}

task<void> purse_keeper::set_budgets(caps wanted) {
  std::vector<event> events(1);
  events[0].type = "alert";
  events[0].data = {{"kind", "budgets_changed"}, {"account_micro", wanted.account}, {"session_micro", wanted.session}};
  std::vector<write> writes;
  writes.push_back(put(budgets_kind, "local", {{"account_micro", wanted.account}, {"session_micro", wanted.session}}));
  auto stored = co_await parts_.journal->append(std::move(events), std::move(writes));
  if (!stored) co_return stored.error();
  budgets_ = wanted;
  settled_->cancel();  // whoever waits for room asks again
  co_return result<void>{};
}

task<void> purse_keeper::connect(parts p) {
  parts_ = std::move(p);
  settled_ =
      std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  std::map<std::string, std::int64_t> spent;
  for (const auto& [id, row] : book_.rows()) {
    if (!row.is_model()) continue;
    spent["session:" + row.session_id] += row.cost_micro;
    spent["account:local"] += row.cost_micro;
  }
  for (const auto& l : parts_.sandboxes->all()) spent["sandbox:" + l->rec.id] = l->rec.llm_micro;
  for (const auto& [name, amount] : spent) ledger_.restore(name, amount);
  co_return co_await settle_leftovers();
}

// A host died during these calls. What they cost will never be known, only that it was no more than this.
task<void> purse_keeper::settle_leftovers() {
  while (true) {
    auto rows = co_await parts_.records->list(reservation_kind, "", 1000);
    if (!rows) co_return rows.error();
    if (rows->empty()) co_return result<void>{};
    for (const auto& row : *rows) {
      auto found = parts_.sandboxes->find(row.body.value("sandbox_id", ""));
      if (!found) {
        batch b;
        b.writes.push_back(erase(reservation_kind, row.id));
        if (auto done = co_await parts_.records->commit(std::move(b)); !done) co_return done.error();
        continue;
      }
      auto l = *found;
      const auto amount = row.body.value("amount_micro", std::int64_t{0});
      auto held = ledger_.reserve({meter::purse{"sandbox:" + l->rec.id}, meter::purse{"session:" + l->rec.session_id},
                                   meter::purse{"account:local"}},
                                  amount);
      if (!held) co_return held.error();
      ledger_.settle(held->id, amount);
      json fact = row.body.value("about", json::object());
      fact["cost_micros"] = amount;
      fact["outcome"] = "lost";
      fact["estimated"] = true;
      fact["message"] = "the server ended during this call; its worst case is taken for its cost";
      stored_as_[held->id] = row.id;
      l->rec.llm_micro += amount;
      if (auto stored = co_await store_settlement(l, held->id, std::move(fact), {}); !stored) co_return stored.error();
    }
  }
}

result<spender> purse_keeper::resolve(std::string_view token) {
  if (parts_.sandboxes == nullptr)
    return fail(errc::unavailable, "starting", "the server is starting", "Try again soon.");
  const auto end = token.rfind('_');
  if (!token.starts_with(token_prefix) || token.size() > 256 || end < token_prefix.size()) return refused();
  const auto id = token.substr(token_prefix.size(), end - token_prefix.size());
  if (!equal_constant_time(token_of(id), token)) return refused();
  auto found = parts_.sandboxes->find(id);
  if (!found) return refused();
  auto& l = **found;
  if (l.rec.status != state::running && l.rec.status != state::pending)
    return fail(errc::conflict, "sandbox_not_running",
                "sandbox " + l.rec.id + " is " + std::string(to_string(l.rec.status)),
                "Only a running sandbox may call models.");
  l.last_used = std::chrono::steady_clock::now();
  return spender{l.rec.id, l.rec.session_id};
}

std::vector<meter::purse> purse_keeper::purses_of(const live& l) const {
  const auto now = base::now_us();
  std::vector<meter::purse> list;
  const auto own = [](const meter::usage_sum& sum) { return sum.compute_micro + sum.egress_micro; };
  const auto& r = l.rec;
  list.push_back({"sandbox:" + r.id, r.budget_micro, compute_micro(r, now) + egress_micro(r)});
  list.push_back({"session:" + r.session_id, budgets_.session, own(book_.session(r.session_id)) + open_micro(r, now)});
  std::int64_t all = own(book_.total());
  if (budgets_.account > 0)
    for (const auto& other : parts_.sandboxes->all()) all += open_micro(other->rec, now);
  list.push_back({"account:local", budgets_.account, all});
  return list;
}

std::int64_t purse_keeper::reserved_micro(std::string_view id) const {
  return ledger_.of("sandbox:" + std::string(id)).reserved;
}

// Asked about what is set aside, which a clamp may have made less than the call's worst case.
task<void> purse_keeper::permit(std::shared_ptr<live> l, json about, std::int64_t amount) {
  if (!parts_.permit) co_return result<void>{};
  event question;
  question.type = "llm_request";
  question.sandbox_id = l->rec.id;
  question.session_id = l->rec.session_id;
  question.data = std::move(about);
  question.data["cost_max_micros"] = amount;
  co_return co_await parts_.permit(std::move(question));
}

task<reservation> purse_keeper::reserve(spender who, reserve_request wanted) {
  if (parts_.sandboxes == nullptr)
    co_return fail(errc::unavailable, "starting", "the server is starting", "Try again soon.");
  auto found = parts_.sandboxes->find(who.sandbox_id);
  if (!found) co_return found.error();
  auto l = *found;
  const auto deadline = std::chrono::steady_clock::now() + wanted.patience;
  result<meter::held_reservation> held = ledger_.reserve(purses_of(*l), wanted.most_micro);
  while (!held && held.error().reason == "budget_busy" && std::chrono::steady_clock::now() < deadline) {
    // Its own timer bounds the wait; the shared one wakes it early. Whoever is woken asks again.
    using namespace asio::experimental::awaitable_operators;
    const auto shared = settled_;
    asio::steady_timer own(co_await asio::this_coro::executor, deadline);
    co_await (own.async_wait(use_tuple) || shared->async_wait(use_tuple));
    held = ledger_.reserve(purses_of(*l), wanted.most_micro);
  }
  if (!held && held.error().reason != "invalid_argument" && wanted.least_micro < wanted.most_micro) {
    const auto room = ledger_.room(purses_of(*l));
    if (room >= wanted.least_micro) held = ledger_.reserve(purses_of(*l), std::min(room, wanted.most_micro));
  }
  if (!held) co_return held.error();
  if (auto allowed = co_await permit(l, wanted.about, held->amount); !allowed) {
    ledger_.settle(held->id, 0);
    settled_->cancel();
    co_return allowed.error();
  }
  reservation made{held->id, who, held->amount};
  const std::string record_id = random_id("res-", 16);
  std::vector<write> writes;
  writes.push_back(put(reservation_kind, record_id,
                       {{"sandbox_id", who.sandbox_id},
                        {"amount_micro", made.amount_micro},
                        {"about", std::move(wanted.about)},
                        {"time_us", base::now_us()}}));
  // What settles it goes the same way, behind it.
  stored_as_[held->id] = record_id;
  auto store = std::make_shared<storing>(co_await asio::this_coro::executor);
  storing_[held->id] = store;
  parts_.sandboxes->run("reservation of " + who.sandbox_id, store_reservation(store, std::move(writes)));
  co_return made;
}

asio::awaitable<void> purse_keeper::store_reservation(std::shared_ptr<storing> s, std::vector<write> writes) {
  std::vector<event> none;
  auto stored = co_await parts_.journal->append(std::move(none), std::move(writes));
  s->outcome = stored ? result<void>{} : result<void>(stored.error());
  s->done.cancel();
}

task<void> purse_keeper::durable(reservation r) {
  const auto found = storing_.find(r.id);
  if (found == storing_.end()) co_return result<void>{};
  const auto s = found->second;
  storing_.erase(found);
  while (!s->outcome) {
    co_await s->done.async_wait(use_tuple);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      co_return fail(errc::cancelled, "cancelled", "the call was cancelled");
  }
  co_return *s->outcome;
}

void purse_keeper::settle(const reservation& r, std::int64_t cost, json fact, std::chrono::microseconds took) {
  if (!ledger_.settle(r.id, cost)) return;
  storing_.erase(r.id);
  settled_->cancel();
  auto found = parts_.sandboxes->find(r.who.sandbox_id);
  if (!found) return;
  auto l = *found;
  l->rec.llm_micro += cost;
  l->last_used = std::chrono::steady_clock::now();
  fact["cost_micros"] = cost;
  auto storing = [](purse_keeper* self, std::shared_ptr<live> box, std::uint64_t id, json what,
                    std::chrono::microseconds time) -> asio::awaitable<void> {
    (void)co_await self->store_settlement(box, id, std::move(what), time);
  };
  parts_.sandboxes->run("settlement of " + r.who.sandbox_id, storing(this, l, r.id, std::move(fact), took));
}

// The event, the sandbox's sum, the usage row and the end of the reservation: all of them or none.
task<void> purse_keeper::store_settlement(std::shared_ptr<live> l, std::uint64_t id, json fact,
                                          std::chrono::microseconds took) {
  const auto row = book_.add(base::now_us(), l->rec.id, l->rec.session_id, fact);
  std::vector<write> writes;
  writes.push_back(put(usage_kind, row, meter::to_stored(book_.row(row))));
  if (const auto stored = stored_as_.find(id); stored != stored_as_.end()) {
    writes.push_back(erase(reservation_kind, stored->second));
    stored_as_.erase(stored);
  }
  co_return co_await parts_.sandboxes->save_with(l, "llm_call", std::move(fact), took, std::move(writes));
}

}  // namespace caged::sandbox
