#include "core/operation/auth.hpp"

#include <caged/random.hpp>
#include <fstream>

#include "core/base/file.hpp"
#include "core/base/time.hpp"

namespace caged::operation {
namespace {

constexpr std::string_view key_prefix = "caged_sk_";
constexpr std::string_view ticket_prefix = "caged_wst_";
constexpr std::size_t most_tickets = 10'000;

error refused() {
  return fail(errc::unauthenticated, "bad_key", "the key is not known here",
              "Send a valid key: Authorization: Bearer caged_sk_…; `caged keys` lists them.");
}

key_info from_record(const record& r) {
  key_info k;
  k.id = r.id;
  k.name = r.body.value("name", "");
  k.prefix = r.body.value("prefix", "");
  k.granted = static_cast<scope>(r.body.value("scope", 0));
  k.created_us = r.body.value("created_us", std::int64_t{0});
  k.expires_us = r.body.value("expires_us", std::int64_t{0});
  return k;
}

}  // namespace

json to_api(const key_info& k) {
  json j{{"id", k.id},
         {"name", k.name},
         {"prefix", k.prefix},
         {"scope", to_string(k.granted)},
         {"created_at", base::format_time(k.created_us)}};
  j["last_used"] = k.last_used_us == 0 ? json(nullptr) : json(base::format_time(k.last_used_us));
  j["expires_at"] = k.expires_us == 0 ? json(nullptr) : json(base::format_time(k.expires_us));
  return j;
}

task<bool> auth::open(std::filesystem::path first_key) {
  std::string after;
  while (true) {
    auto rows = co_await records_.list("key", after, 1000);
    if (!rows) co_return rows.error();
    for (const auto& row : *rows) {
      by_hash_.emplace(row.body.value("hash", ""), from_record(row));
      after = row.id;
    }
    if (rows->size() < 1000) break;
  }
  if (!by_hash_.empty()) co_return false;
  auto made = co_await create("first key", scope::full, 0);
  if (!made) co_return made.error();
  if (auto written = base::write_file(first_key, made->first + "\n", 0600); !written) co_return written.error();
  co_return true;
}

task<std::pair<std::string, key_info>> auth::create(std::string name, scope granted, std::int64_t expires_us) {
  const std::string secret = random_hex(key_prefix, 32);
  key_info k;
  k.id = random_id("key-", 12);
  k.name = std::move(name);
  k.prefix = secret.substr(0, key_prefix.size() + 6);
  k.granted = granted;
  k.created_us = base::now_us();
  k.expires_us = expires_us;
  write put;
  put.kind = "key";
  put.id = k.id;
  put.body = {{"name", k.name},
              {"prefix", k.prefix},
              {"scope", static_cast<int>(granted)},
              {"created_us", k.created_us},
              {"expires_us", expires_us},
              {"hash", sha256_hex(secret)}};
  batch b;
  b.writes.push_back(std::move(put));
  if (auto done = co_await records_.commit(std::move(b)); !done) co_return done.error();
  by_hash_.emplace(sha256_hex(secret), k);
  co_return std::pair<std::string, key_info>(secret, k);
}

task<caller> auth::authenticate(std::string credential) {
  if (credential.empty())
    co_return fail(errc::unauthenticated, "key_missing", "no key was sent",
                   "Send Authorization: Bearer caged_sk_…; the first one lies in admin.key in the data folder.");
  // Looked up by hash: timing tells about the hash of a guess, which is worth nothing.
  const std::string hash = sha256_hex(credential);
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end() || !equal_constant_time(found->first, hash)) co_return refused();
  key_info& k = found->second;
  const auto now = base::now_us();
  if (k.expires_us != 0 && now >= k.expires_us)
    co_return fail(errc::unauthenticated, "key_expired",
                   "the key \"" + k.name + "\" expired at " + base::format_time(k.expires_us),
                   "Make a new one: `caged keys create`.");
  k.last_used_us = now;
  caller who;
  who.key_id = k.id;
  who.name = k.name;
  who.granted = k.granted;
  co_return who;
}

task<void> auth::revoke(std::string id) {
  for (auto k = by_hash_.begin(); k != by_hash_.end(); ++k) {
    if (k->second.id != id) continue;
    std::size_t full = 0;
    for (const auto& [hash, other] : by_hash_) full += other.granted == scope::full;
    if (k->second.granted == scope::full && full == 1)
      co_return fail(errc::conflict, "last_key", "this is the last key of scope full",
                     "Make another one first: `caged keys create NAME --scope full`.");
    write gone;
    gone.what = write::op::erase;
    gone.kind = "key";
    gone.id = id;
    batch b;
    b.writes.push_back(std::move(gone));
    if (auto done = co_await records_.commit(std::move(b)); !done) co_return done.error();
    std::erase_if(by_hash_, [&id](const auto& row) { return row.second.id == id; });
    std::erase_if(tickets_, [&id](const auto& row) { return row.second.who.key_id == id; });
    co_return result<void>{};
  }
  co_return fail(errc::not_found, "key_not_found", "there is no key \"" + id + "\"",
                 "List them with `caged keys list`.", "/key_id");
}

std::vector<key_info> auth::list() const {
  std::vector<key_info> all;
  for (const auto& [hash, k] : by_hash_) all.push_back(k);
  std::sort(all.begin(), all.end(), [](const key_info& a, const key_info& b) {
    return std::tie(a.created_us, a.id) < std::tie(b.created_us, b.id);
  });
  return all;
}

const key_info* auth::find(std::string_view id) const {
  for (const auto& [hash, k] : by_hash_)
    if (k.id == id) return &k;
  return nullptr;
}

auth::ticket auth::issue(const caller& who) {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(tickets_, [now](const auto& row) { return row.second.end <= now; });
  if (tickets_.size() >= most_tickets)
    tickets_.erase(std::min_element(tickets_.begin(), tickets_.end(),
                                    [](const auto& a, const auto& b) { return a.second.end < b.second.end; }));
  ticket t{random_hex(ticket_prefix, 24), base::now_us() + std::chrono::microseconds(ticket_life).count()};
  tickets_.emplace(sha256_hex(t.secret), waiting{who, now + ticket_life});
  return t;
}

result<caller> auth::redeem(const std::string& secret) {
  const auto found = tickets_.find(sha256_hex(secret));
  const bool good = found != tickets_.end() && found->second.end > std::chrono::steady_clock::now();
  caller who;
  if (found != tickets_.end()) {
    who = found->second.who;
    tickets_.erase(found);
  }
  if (good) return who;
  return fail(errc::unauthenticated, "bad_ticket", "the ticket is not known, used already or older than 60 s",
              "Ask for a new one: POST /v1/auth/socket-ticket.");
}

}  // namespace caged::operation
