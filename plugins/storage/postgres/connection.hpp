// Connections to PostgreSQL, their failures as errors that say what to do, and values as libpq's texts.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <pqxx/pqxx>
#include <string>
#include <vector>

namespace caged::storage_postgres {

struct settings {
  std::string connection;  // libpq's connection string
  std::string schema = "caged";
  std::size_t readers = 4;
  std::chrono::milliseconds reconnect{10000};
  std::chrono::milliseconds wait_for_owner{0};
};

// Reads a configuration that fits config.schema.json.
settings read_settings(const json& config);

// A connection whose search path is the schema and whose texts are UTF-8. Throws what pqxx throws.
std::unique_ptr<pqxx::connection> connect(const settings& s);

// The exception in flight as an error. Never shows a password.
error current_exception_error();
// Whether the exception in flight means that the connection is gone.
bool current_exception_is_loss();

// Parameters of a statement. Names of records are bytea in the database: any bytes, in byte order.
class parameters {
 public:
  parameters& bytes(const std::string& value);  // for a bytea
  parameters& text(std::string value);
  parameters& number(std::int64_t value);
  const std::vector<std::string>& values() const noexcept { return values_; }
  std::size_t size() const noexcept { return values_.size(); }

 private:
  std::vector<std::string> values_;
};

pqxx::result run(pqxx::transaction_base& t, const std::string& statement, const parameters& p);       // prepared
pqxx::result run_text(pqxx::transaction_base& t, const std::string& sql, const parameters& p = {});

// "\x6162" as the database writes a bytea, decoded.
std::string bytes_of(const pqxx::field& f);
std::string hex_of(const pqxx::field& f);  // the same as lower-case hexadecimal digits

}  // namespace caged::storage_postgres
