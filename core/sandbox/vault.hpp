// Named secrets, sealed at rest: known by name to everybody, by value to the environment of the boxes that ask.
#pragma once

#include <caged/storage.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/journal/journal.hpp"

namespace caged::sandbox {

struct secret_info {
  std::string name;
  std::vector<std::string> hosts;  // the only hosts it may be sent to, where the network puts it in; empty = none named
  std::int64_t created_us = 0, updated_us = 0;
};
json to_api(const secret_info& s);

// Stored as AES-256-GCM under a key of the host's own, bound to its name; every value is kept out of the journal from
// the moment it is known. On the loop thread.
class vault {
 public:
  // Reads or makes the key (mode 0600; refused when others may read it), then every secret. A record that does not open
  // with this key is an error that names it.
  task<void> open(const std::filesystem::path key_file, storage& records, journal::journal& j);

  // A value of 8 bytes to 64 KiB without NUL; the name fits an environment variable. Replaces what was there.
  task<secret_info> set(std::string name, std::string value, std::vector<std::string> hosts);
  task<void> remove(std::string name);
  std::vector<secret_info> list() const;
  bool has(std::string_view name) const { return entries_.contains(name); }
  // not_found, reason "secret_not_found".
  result<std::string> value(std::string_view name) const;
  const secret_info* find(std::string_view name) const;

 private:
  struct entry {
    secret_info info;
    std::string value;
  };
  result<void> read_key(const std::filesystem::path& file);
  std::string seal(const std::string& name, const std::string& value) const;
  std::optional<std::string> unseal(const std::string& name, const std::string& sealed) const;

  storage* records_ = nullptr;
  journal::journal* journal_ = nullptr;
  std::string key_;  // 32 bytes
  std::map<std::string, entry, std::less<>> entries_;
};

}  // namespace caged::sandbox
