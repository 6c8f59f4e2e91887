#include "ledger.hpp"

#include <chrono>

namespace caged::billing::ledger {
namespace {

constexpr const char* line_kind = "ledger_line";
constexpr const char* entry_kind = "ledger_entry";
constexpr const char* balance_kind = "ledger_balance";

std::string two_digits(std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); }

std::string hour_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto hours = std::chrono::duration_cast<std::chrono::hours>(now).count();
  return std::to_string(hours / 24) + "." + two_digits(hours % 24);
}

write put(const char* kind, std::string id, json body, std::uint64_t version) {
  write w;
  w.kind = kind;
  w.id = std::move(id);
  w.body = std::move(body);
  w.expect_version = version;
  return w;
}

std::int64_t number(const json& j, const char* key) { return j.value(key, std::int64_t{0}); }

double dollars(std::int64_t micro) { return static_cast<double>(micro) / 1e6; }

struct sum {
  std::int64_t quantity = 0, amount = 0;
};

json rows_of(const std::map<std::string, sum>& sums, const char* key) {
  json rows = json::array();
  for (const auto& [name, s] : sums)
    rows.push_back({{key, name}, {"amount_micro", s.amount}, {"amount", dollars(s.amount)}});
  return rows;
}

}  // namespace

double_entry::double_entry(host& h, const json&) : host_(h) {}

void* double_entry::find_extension(std::string_view name) noexcept {
  return name == billing_statements::interface_name ? static_cast<billing_statements*>(this) : nullptr;
}

task<void> double_entry::open() {
  records_ = host_.service<storage>();
  if (records_ == nullptr)
    co_return fail(errc::unavailable, "no_storage", "the ledger found no storage", "Load a storage plugin.");
  co_return co_await load_balances();
}

task<void> double_entry::load_balances() {
  auto rows = co_await records_->list(balance_kind, "", 1000);
  if (!rows) co_return rows.error();
  balances_.clear();
  for (const auto& r : *rows) balances_[r.id] = {number(r.body, "debit"), number(r.body, "credit"), r.version};
  co_return result<void>{};
}

task<void> double_entry::post(const usage_line line, batch& into, std::map<std::string, balance>& balances) {
  auto known = co_await records_->get(line_kind, line.id);
  if (!known) co_return known.error();
  const json posted = *known ? (**known).body : json::object();
  const std::int64_t amount = line.amount_micro - number(posted, "amount_micro");
  const std::int64_t quantity = line.quantity - number(posted, "quantity");
  if (amount == 0 && quantity == 0) co_return result<void>{};
  if (amount < 0 || quantity < 0) {
    // Totals never shrink; the books are right and the meter is behind them (an older copy of its storage).
    host_.log(log_level::error, "usage line " + line.id + " is smaller than what is booked of it; nothing is booked");
    co_return result<void>{};
  }
  const std::string entry_id = line.id + "#" + hour_now();
  auto entry = co_await records_->get(entry_kind, entry_id);
  if (!entry) co_return entry.error();
  const json before = *entry ? (**entry).body : json::object();
  json body{{"day", line.day},
            {"sandbox_id", line.sandbox_id},
            {"session_id", line.session_id},
            {"item", line.item},
            {"model", line.model},
            {"quantity", line.quantity},
            {"amount_micro", line.amount_micro}};
  into.writes.push_back(put(line_kind, line.id, body, *known ? (**known).version : 0));
  const std::string debtor = "receivable:" + line.account, earner = "revenue:" + line.item;
  body["debit"] = debtor;
  body["credit"] = earner;
  body["quantity"] = number(before, "quantity") + quantity;
  body["amount_micro"] = number(before, "amount_micro") + amount;
  into.writes.push_back(put(entry_kind, entry_id, std::move(body), *entry ? (**entry).version : 0));
  balances[debtor].debit += amount;
  balances[earner].credit += amount;
  co_return result<void>{};
}

task<void> double_entry::report(std::vector<usage_line> lines) {
  batch b;
  auto balances = balances_;
  for (const auto& line : lines)
    if (auto done = co_await post(line, b, balances); !done) co_return done.error();
  if (b.writes.empty()) co_return result<void>{};
  for (auto& [name, now] : balances) {
    const auto old = balances_.find(name);
    if (old != balances_.end() && old->second.debit == now.debit && old->second.credit == now.credit) continue;
    b.writes.push_back(put(balance_kind, name, {{"debit", now.debit}, {"credit", now.credit}}, now.version));
    ++now.version;
  }
  auto stored = co_await records_->commit(std::move(b));
  if (stored) {
    balances_ = std::move(balances);
    co_return result<void>{};
  }
  // It may have been stored all the same (the connection broke off): what is there decides.
  if (auto read = co_await load_balances(); !read) co_return read.error();
  co_return stored.error();
}

task<json> double_entry::statement(std::string from_day, std::string to_day) {
  std::map<std::string, sum> days, boxes, sessions, models, items;
  json lines = json::array();
  sum all, entered;
  std::uint64_t entries = 0;
  std::string after = from_day;
  for (bool more = true; more;) {
    auto page = co_await records_->list(line_kind, after, 1000);
    if (!page) co_return page.error();
    more = page->size() == 1000;
    for (const auto& r : *page) {
      after = r.id;
      const json& l = r.body;
      const std::string day = l.value("day", "");
      if (day > to_day) more = false;
      if (day > to_day) break;
      const auto amount = number(l, "amount_micro"), quantity = number(l, "quantity");
      for (auto* s : {&all, &days[day], &boxes[l.value("sandbox_id", "")], &sessions[l.value("session_id", "")],
                      &items[l.value("item", "")]}) {
        s->amount += amount;
        s->quantity += quantity;
      }
      if (l.value("item", "") == "model") models[l.value("model", "")].amount += amount;
      json row = l;
      row["amount"] = dollars(amount);
      lines.push_back(std::move(row));
    }
  }
  after = from_day;
  for (bool more = true; more;) {
    auto page = co_await records_->list(entry_kind, after, 1000);
    if (!page) co_return page.error();
    more = page->size() == 1000;
    for (const auto& r : *page) {
      after = r.id;
      if (r.body.value("day", "") > to_day) more = false;
      if (r.body.value("day", "") > to_day) break;
      entered.amount += number(r.body, "amount_micro");
      ++entries;
    }
  }
  balance total;
  json accounts = json::array();
  for (const auto& [name, b] : balances_) {
    total.debit += b.debit;
    total.credit += b.credit;
    accounts.push_back({{"account", name}, {"debit_micro", b.debit}, {"credit_micro", b.credit}});
  }
  json out{{"account", "local"},
           {"from", from_day},
           {"to", to_day},
           {"currency", "USD"},
           {"total", dollars(all.amount)},
           {"total_micro", all.amount},
           {"entries", entries},
           {"balanced", total.debit == total.credit && entered.amount == all.amount},
           {"accounts", std::move(accounts)},
           {"lines", std::move(lines)}};
  out["days"] = rows_of(days, "day");
  out["sandboxes"] = rows_of(boxes, "sandbox_id");
  out["sessions"] = rows_of(sessions, "session_id");
  out["models"] = rows_of(models, "model");
  out["items"] = rows_of(items, "item");
  co_return out;
}

}  // namespace caged::billing::ledger
