// What an operator may configure of the SQLite storage.
#pragma once

#include <caged/json.hpp>
#include <chrono>
#include <filesystem>

namespace caged::storage_sqlite {

// How much a commit outlives once it is acknowledged.
enum class durability : std::uint8_t {
  unset = 0,
  normal,  // the death of the process
  full,    // also the death of the machine; one fsync per group of commits
};

struct settings {
  std::filesystem::path file;
  durability synchronous = durability::normal;
  std::chrono::milliseconds busy_timeout{5000};   // how long another program may hold the database
  std::chrono::milliseconds check_budget{2000};   // time for the structural check in open()
  std::size_t readers = 2;                        // connections, each with a thread
};

// Reads a configuration that fits config.schema.json; `data_dir` is the folder a relative "file" lies in.
result<settings> read_settings(const json& config, const std::filesystem::path& data_dir);

}  // namespace caged::storage_sqlite
