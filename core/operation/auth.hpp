// API keys and single-use tickets: made here, stored hashed, compared in constant time.
#pragma once

#include <caged/operation.hpp>
#include <caged/storage.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>

namespace caged::operation {

struct key_info {
  std::string id, name, prefix;  // prefix: the first characters, to recognise a key by
  scope granted = scope::unset;
  std::int64_t created_us = 0, last_used_us = 0, expires_us = 0;  // 0 = never
};
json to_api(const key_info& k);

// On the loop thread. Secrets are 256 random bits, so a plain SHA-256 is a sound hash for them.
class auth {
 public:
  explicit auth(storage& records) : records_(records) {}

  // Reads the keys. Without any, makes one of scope full and writes it to `first_key` (mode 0600, never overwritten);
  // returns whether it did.
  task<bool> open(std::filesystem::path first_key);

  task<caller> authenticate(std::string credential);
  // The secret is shown once, in `first`.
  task<std::pair<std::string, key_info>> create(std::string name, scope granted, std::int64_t expires_us);
  task<void> revoke(std::string id);
  std::vector<key_info> list() const;
  const key_info* find(std::string_view id) const;

  struct ticket {
    std::string secret;
    std::int64_t expires_us;
  };
  static constexpr std::chrono::seconds ticket_life{60};
  // At most 10,000 tickets wait at a time; the oldest makes room.
  ticket issue(const caller& who);
  result<caller> redeem(const std::string& secret);

 private:
  struct waiting {
    caller who;
    std::chrono::steady_clock::time_point end;
  };
  storage& records_;
  std::map<std::string, key_info> by_hash_;
  std::map<std::string, waiting> tickets_;  // by the hash of the secret
};

}  // namespace caged::operation
