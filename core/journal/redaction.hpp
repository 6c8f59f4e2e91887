// Keeps known secret values out of the journal.
#pragma once

#include <caged/json.hpp>
#include <map>
#include <shared_mutex>
#include <string>

namespace caged::journal {

// Thread-safe. A value registered twice must be removed twice.
class redactor {
 public:
  // invalid_argument (reason "secret_too_short") below 8 bytes: replacing short strings would eat ordinary text.
  result<void> add(std::string secret);
  void remove(const std::string& secret);

  // Credentials of Caged's own (caged_box_…, caged_sk_…, caged_wst_…) are replaced without being registered.
  // Replaces each registered value in strings and member names, at any depth, by "[redacted]".
  void clean(json& value) const;
  void clean(std::string& text) const;

 private:
  bool replace_in(std::string& text) const;
  void walk(json& value) const;

  mutable std::shared_mutex mutex_;
  std::map<std::string, std::size_t> secrets_;
};

}  // namespace caged::journal
