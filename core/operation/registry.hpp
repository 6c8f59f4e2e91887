// All operations of this host, and the one road every call walks: scope → schema → policy → act → event.
#pragma once

#include <caged/json_schema.hpp>
#include <caged/operation.hpp>
#include <map>
#include <memory>
#include <string>

#include "core/journal/journal.hpp"
#include "core/operation/auth.hpp"

namespace caged::operation {

// What a gate says before an operation acts. The policies of the host sit behind it.
using gate = std::function<task<void>(const operation_info& info, const call& c)>;

class registry : public operations {
 public:
  struct parts {
    auth* keys = nullptr;
    journal::journal* journal = nullptr;
    std::function<void(log_level, std::string)> log;
    // The session a sandbox's facts belong to; "" for an unknown sandbox.
    std::function<std::string(std::string_view sandbox_id)> session_of;
  };
  // Tool plugins may add operations before the host's parts exist; nothing is invoked before that.
  void connect(parts p) { parts_ = std::move(p); }

  // Asked before every call. Absent: everything passes.
  void set_gate(gate g) { gate_ = std::move(g); }

  // `event_type` is what a call leaves in the journal, "" when it is a read or the handler writes its own facts.
  // Precondition: a declaration of this project; a bad schema is a bug and throws.
  void add_own(operation_info info, std::string event_type, operation_handler handler);

  std::vector<const operation_info*> list() const override;
  const operation_info* find(std::string_view name) const override;
  task<caller> authenticate(std::string credential) override;
  task<caller> redeem_ticket(std::string ticket) override;
  task<reply> invoke(call c) override;
  result<void> add(operation_info info, operation_handler handler) override;

 private:
  struct entry {
    operation_info info;
    json_schema input;
    operation_handler handler;
    std::string event_type;
  };
  result<void> insert(operation_info info, std::string event_type, operation_handler handler);
  result<void> admit(const entry& e, const call& c) const;
  task<void> record(const entry& e, const json& arguments, const caller& who, const std::string& transport,
                    const error* refusal);

  parts parts_;
  gate gate_;
  std::map<std::string, std::unique_ptr<entry>, std::less<>> entries_;
};

}  // namespace caged::operation
