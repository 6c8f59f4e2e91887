// Connects judgement with the parts that it asks and that it acts on.
#include "core/app/server.hpp"
#include "core/base/log.hpp"

namespace caged::app {

void server::open_judge(storage& records) {
  judgement::judge::parts parts;
  parts.executor = loop_.executor();
  parts.journal = journal_.get();
  parts.records = &records;
  parts.policies.roots = config_.policies.folders;
  parts.policies.roots.push_back(program_.parent_path().parent_path() / "share" / "caged" / "policies");
  parts.policies.use = config_.policies.use;
  parts.policies.accounts = config_.policies.accounts;
  parts.approval_time = config_.policies.approval_time;
  parts.subject_of = [this](std::string_view id) -> std::optional<judgement::subject> {
    auto found = sandboxes_->find(id);
    if (!found) return std::nullopt;
    const auto& r = (*found)->rec;
    judgement::subject s;
    s.sandbox_id = r.id;
    s.session_id = r.session_id;
    if (const auto* key = keys_->find(r.owner_key)) s.account = key->name;
    s.network_mode = r.network_mode;
    s.allowed_hosts = r.allowlist;
    s.budget_micros = r.budget_micro;
    s.policies = r.policies;
    if (const auto* session = sessions_->find(r.session_id)) s.agent = session->agent_type;
    return s;
  };
  parts.agent_seen = [this](std::string session, std::string agent) {
    return sessions_->recognise(std::move(session), std::move(agent));
  };
  parts.pause = [this](std::string id, std::string) { return sandboxes_->pause(std::move(id)); };
  parts.destroy = [this](std::string id, std::string reason) {
    return sandboxes_->destroy(std::move(id), std::move(reason));
  };
  parts.log = [](log_level level, std::string message) { base::log(level, "judgement", message); };
  judge_ = std::make_unique<judgement::judge>(std::move(parts));
  judgement::alerts::parts telling;
  telling.executor = loop_.executor();
  telling.blocking = loop_.blocking();
  telling.journal = journal_.get();
  telling.records = &records;
  const auto& mail = config_.mail;
  telling.mail = {mail.server, mail.from, mail.user, mail.password_file, mail.tls};
  telling.log = [](log_level level, std::string message) { base::log(level, "alerts", message); };
  alerts_ = std::make_unique<judgement::alerts>(std::move(telling));
}

}  // namespace caged::app
