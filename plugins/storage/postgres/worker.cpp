#include "worker.hpp"

#include <thread>

#include "applier.hpp"
#include "schema.hpp"

namespace caged::storage_postgres {
namespace {

using clock = std::chrono::steady_clock;

error taken_over(const std::string& schema) {
  return fail(errc::conflict, "storage_taken_over",
              "another server has taken over the schema \"" + schema + "\" while the connection was lost",
              "Stop this server; the other one works on.");
}

error commit_unknown() {
  return fail(errc::unavailable, "commit_unknown", "the database went away before it said whether a commit was made",
              "Restart the server when PostgreSQL is well again.");
}

class worker : public commit_worker {
 public:
  explicit worker(settings s) : settings_(std::move(s)) {}

  result<void> open() override {
    try {
      connection_ = connect(settings_);
      if (auto owned = own(clock::now() + settings_.wait_for_owner); !owned) return owned;
      if (auto ready = migrate(*connection_, settings_); !ready) return ready;
      applier_.emplace(*connection_);
      return remember_last();
    } catch (...) {
      return current_exception_error();
    }
  }

  void commit(std::vector<pending_commit>& group) override {
    std::vector<result<void>> outcome(group.size());
    const auto failure = attempt(group, 0, group.size(), outcome);
    if (failure && group.size() > 1 && failure->code != errc::unavailable && !fenced_) {
      // One batch that the database cannot take must not fail its neighbours.
      for (std::size_t i = 0; i < group.size(); ++i)
        if (auto alone = attempt(group, i, i + 1, outcome)) outcome[i] = *alone;
    } else if (failure) {
      for (auto& one : outcome) one = *failure;
    }
    for (std::size_t i = 0; i < group.size(); ++i) group[i].done(std::move(outcome[i]));
  }

  void close() override { connection_.reset(); }

 private:
  // The advisory lock lives as long as the connection; its key is made from the schema's name.
  result<void> own(clock::time_point until) {
    while (true) {
      pqxx::nontransaction t(*connection_);
      const auto key = "hashtextextended(" + t.quote("caged/" + settings_.schema) + ", 0)";
      if (t.exec1("SELECT pg_try_advisory_lock(" + key + ")")[0].as<bool>()) return {};
      if (clock::now() >= until) return owned_by_another(t, key);
      t.abort();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  result<void> owned_by_another(pqxx::nontransaction& t, const std::string& key) {
    const auto rows = t.exec(
        "SELECT a.pid, coalesce(host(a.client_addr), 'this machine') FROM pg_locks l JOIN pg_stat_activity a USING "
        "(pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = " +
        key);
    const std::string who = rows.empty() ? std::string("another server")
                                         : "a server on " + rows[0][1].as<std::string>() + " (backend " +
                                               rows[0][0].as<std::string>() + ")";
    return fail(errc::conflict, "storage_locked", "the schema \"" + settings_.schema + "\" belongs to " + who,
                "Stop that server, choose another schema, or set wait_for_owner_ms to stand by for it.");
  }

  result<void> remember_last() {
    pqxx::nontransaction t(*connection_);
    last_id_ = t.exec1("SELECT coalesce(max(id), 0) FROM events")[0].as<std::uint64_t>();
    return {};
  }

  // Connected again and still the owner of what it knew. Throws what pqxx throws.
  result<void> reconnect(clock::time_point until) {
    connection_ = connect(settings_);
    // The server may still be burying the lost connection, which holds the lock until then.
    if (auto owned = own(until); !owned) return owned;
    pqxx::nontransaction t(*connection_);
    const auto last = t.exec1("SELECT coalesce(max(id), 0) FROM events")[0].as<std::uint64_t>();
    t.commit();
    if (last > last_id_ && last > in_doubt_id_) {
      fenced_ = true;
      return taken_over(settings_.schema);
    }
    applier_.emplace(*connection_);
    return {};
  }

  // A transaction over group[first, last). The error means that none of it is stored.
  std::optional<error> attempt(std::vector<pending_commit>& group, std::size_t first, std::size_t last,
                               std::vector<result<void>>& outcome) {
    const auto until = clock::now() + settings_.reconnect;
    std::string transaction_id;  // of a commit whose answer was lost
    in_doubt_id_ = last_id_;
    for (std::size_t i = first; i < last; ++i)
      for (const auto& e : group[i].work.events) in_doubt_id_ = std::max(in_doubt_id_, e.id);
    while (true) {
      if (fenced_) return taken_over(settings_.schema);
      try {
        if (!applier_)
          if (auto again = reconnect(until); !again) return again.error();
        if (transaction_id.empty() || !was_committed(transaction_id)) {
          transaction_id.clear();
          write_all(group, first, last, outcome, transaction_id);
        }
        last_id_ = std::max(last_id_, written_id_);
        return std::nullopt;
      } catch (...) {
        const error e = current_exception_error();
        const bool lost = current_exception_is_loss();
        if (!lost) {
          if (applier_) applier_->forget();
          return e;
        }
        applier_.reset();
        connection_.reset();
        if (clock::now() >= until) return transaction_id.empty() ? e : commit_unknown();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  void write_all(std::vector<pending_commit>& group, std::size_t first, std::size_t last,
                 std::vector<result<void>>& outcome, std::string& transaction_id) {
    written_id_ = last_id_;
    pqxx::work t(*connection_);
    for (std::size_t i = first; i < last; ++i) {
      t.exec0("SAVEPOINT batch");
      outcome[i] = guarded(t, group[i].work);
      if (!outcome[i]) {
        t.exec0("ROLLBACK TO batch");
        applier_->forget();
      } else {
        for (const auto& e : group[i].work.events) written_id_ = std::max(written_id_, e.id);
      }
      t.exec0("RELEASE batch");
    }
    transaction_id = t.exec1("SELECT pg_current_xact_id()::text")[0].as<std::string>();
    try {
      t.commit();
    } catch (const pqxx::in_doubt_error& e) {
      throw pqxx::broken_connection(e.what());
    }
  }

  // A batch that is wrong in itself fails alone; what concerns the connection is thrown on.
  result<void> guarded(pqxx::work& t, const batch& b) {
    try {
      return applier_->apply(t, b);
    } catch (const json::exception&) {
      return current_exception_error();
    } catch (const pqxx::sql_error& e) {
      if (e.sqlstate().starts_with("22") || e.sqlstate().starts_with("23") || e.sqlstate() == "54000")
        return current_exception_error();
      throw;
    }
  }

  // Whether the database has made this commit; throws when the connection is lost again.
  bool was_committed(const std::string& transaction_id) {
    while (true) {
      pqxx::nontransaction t(*connection_);
      const auto status = run_text(t, "SELECT pg_xact_status($1::xid8)", parameters().text(transaction_id))[0][0];
      if (status.is_null()) return false;
      if (status.as<std::string>() != "in progress") return status.as<std::string>() == "committed";
      t.abort();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  const settings settings_;
  std::unique_ptr<pqxx::connection> connection_;
  std::optional<applier> applier_;
  std::uint64_t last_id_ = 0;      // newest event that this host knows to be stored
  std::uint64_t written_id_ = 0;   // newest of the transaction under way
  std::uint64_t in_doubt_id_ = 0;  // newest that a lost commit may have stored
  bool fenced_ = false;
};

}  // namespace

std::unique_ptr<commit_worker> make_worker(settings s) { return std::make_unique<worker>(std::move(s)); }

}  // namespace caged::storage_postgres
