#include "connection.hpp"

namespace caged::storage_postgres {
namespace {

constexpr char digits[] = "0123456789abcdef";

int hex_value(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// By the SQLSTATE classes of PostgreSQL's manual, appendix A.
error from_state(const std::string& state, const std::string& what) {
  if (state.starts_with("53"))
    return fail(errc::insufficient_storage, "disk_full", "the database cannot take more: " + what,
                "Free disk, memory or connections of the PostgreSQL server and try again; nothing was half-written.");
  if (state.starts_with("28") || state == "3D000" || state == "42501")
    return fail(errc::permission_denied, "storage_refused", "the database refuses: " + what,
                "Check user, password (PGPASSFILE), database name and rights in plugins.storage.postgres.connection.");
  if (state.starts_with("23"))
    return fail(errc::conflict, "storage_conflict", "the change does not fit what is stored: " + what,
                "Read the record again and repeat the change.");
  if (state.starts_with("25006") || state == "25006")
    return fail(errc::permission_denied, "storage_read_only", "the database is read-only: " + what,
                "Connect to the primary, not to a standby.");
  if (state.starts_with("57") || state.starts_with("08"))
    return fail(errc::unavailable, "storage_unreachable", "the database went away: " + what,
                "Start PostgreSQL; the server reconnects by itself.");
  return fail(errc::internal, "storage_failure", "PostgreSQL says " + state + ": " + what,
              "This is a bug of Caged; please report it with this text.");
}

}  // namespace

settings read_settings(const json& config) {
  settings s;
  s.connection = config.at("connection").get<std::string>();
  s.schema = config.value("schema", s.schema);
  s.readers = config.value("readers", s.readers);
  s.reconnect = std::chrono::milliseconds(config.value("reconnect_ms", 10000));
  s.wait_for_owner = std::chrono::milliseconds(config.value("wait_for_owner_ms", 0));
  return s;
}

std::unique_ptr<pqxx::connection> connect(const settings& s) {
  auto c = std::make_unique<pqxx::connection>(s.connection);
  c->set_client_encoding("UTF8");
  pqxx::nontransaction t(*c);
  // Text forms must not depend on the server's or the user's configuration; a stuck server must not hang a commit.
  t.exec(
      "SET bytea_output = 'hex'; SET client_min_messages = warning; SET statement_timeout = '60s'; "
      "SET idle_in_transaction_session_timeout = '120s'; SET application_name = 'caged'; "
      "SET search_path = " +
      t.quote_name(s.schema));
  return c;
}

error current_exception_error() {
  try {
    throw;
  } catch (const pqxx::broken_connection& e) {
    return fail(errc::unavailable, "storage_unreachable", "no connection to PostgreSQL: " + first_line(e.what()),
                "Start PostgreSQL and check plugins.storage.postgres.connection; the server reconnects by itself.");
  } catch (const pqxx::sql_error& e) {
    return from_state(e.sqlstate(), first_line(e.what()));
  } catch (const json::parse_error& e) {
    return fail(errc::internal, "storage_damaged", std::string("a row holds text that is not JSON: ") + e.what(),
                "Restore a backup of the schema.");
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "not_utf8", std::string("the value cannot be written as JSON: ") + e.what(),
                "Strings in records and events must be UTF-8; encode other bytes as base64.");
  } catch (const std::bad_alloc&) {
    return fail(errc::limit_exceeded, "out_of_memory", "out of memory while talking to PostgreSQL",
                "Free memory and try again.");
  } catch (const std::exception& e) {
    return fail(errc::internal, "storage_failure", first_line(e.what()),
                "This is a bug of Caged; please report it with this text.");
  }
}

bool current_exception_is_loss() {
  try {
    throw;
  } catch (const pqxx::broken_connection&) {
    return true;
  } catch (const pqxx::sql_error& e) {
    return e.sqlstate().starts_with("57P") || e.sqlstate().starts_with("08");
  } catch (...) {
    return false;
  }
}

parameters& parameters::bytes(const std::string& value) {
  std::string text = "\\x";
  text.reserve(2 + 2 * value.size());
  for (const char c : value) {
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return this->text(std::move(text));
}

parameters& parameters::text(std::string value) {
  values_.push_back(std::move(value));
  return *this;
}

parameters& parameters::number(std::int64_t value) { return text(std::to_string(value)); }

pqxx::result run(pqxx::transaction_base& t, const std::string& statement, const parameters& p) {
  return t.exec_prepared(statement, pqxx::prepare::make_dynamic_params(p.values()));
}

pqxx::result run_text(pqxx::transaction_base& t, const std::string& sql, const parameters& p) {
  return t.exec_params(sql, pqxx::prepare::make_dynamic_params(p.values()));
}

std::string hex_of(const pqxx::field& f) {
  const std::string_view text(f.c_str(), f.size());
  return std::string(text.substr(std::min<std::size_t>(2, text.size())));
}

std::string bytes_of(const pqxx::field& f) {
  const std::string hex = hex_of(f);
  std::string out(hex.size() / 2, '\0');
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<char>(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
  return out;
}

}  // namespace caged::storage_postgres
