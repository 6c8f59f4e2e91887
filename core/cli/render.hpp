// How answers look: tables, documents, amounts. Pure functions; nothing here knows a terminal or a server.
#pragma once

#include <caged/json.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caged::cli {

enum class output_format : std::uint8_t { unset = 0, table, json, yaml };
enum class colors : std::uint8_t { unset = 0, off, on };
enum class tint : std::uint8_t { unset = 0, green, yellow, red, dim, bold };

// Text that may come out of a sandbox, made safe for a terminal: control characters and broken UTF-8 become \xNN, so
// nothing can move the cursor, set the title or forge a line.
std::string printable(std::string_view text);
// The same, but line breaks and tabs stay.
std::string printable_lines(std::string_view text);

std::string colored(std::string_view text, tint color, colors use);
tint status_tint(std::string_view status);

std::string human_bytes(std::uint64_t bytes);                  // "512 B", "1.5 MiB"
std::string human_duration(std::chrono::milliseconds time);    // "340 ms", "12.3 s", "4m 05s", "2h 03m"
std::string human_dollars(double amount);                      // "$0.0012", "$3.50"
std::string human_count(std::uint64_t n, std::string_view one, std::string_view many);

// A field as table text: "-" when it is missing, null or an empty text.
std::string field(const json& object, std::string_view name);

struct column {
  std::string title;
  enum class side : std::uint8_t { unset = 0, left, right } align = side::left;
};

// Rows of cells under a header; columns as wide as their widest cell, two blanks between. Cells are made printable.
class table {
 public:
  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells, std::vector<tint> tints = {});
  std::string text(colors use) const;
  bool empty() const noexcept { return rows_.empty(); }

 private:
  struct row {
    std::vector<std::string> cells;
    std::vector<tint> tints;
  };
  std::vector<column> columns_;
  std::vector<row> rows_;
};

// "key  value" lines, keys aligned; values made printable.
std::string key_values(const std::vector<std::pair<std::string, std::string>>& pairs, colors use);

// One document: indented JSON, or YAML.
std::string document_text(const json& value, output_format format);

// Columns a terminal needs for the text; wide characters count two, combining ones none.
std::size_t display_width(std::string_view text);

// What `error:` prints: message, then what to do.
std::string error_text(const error& e, colors use);

}  // namespace caged::cli
