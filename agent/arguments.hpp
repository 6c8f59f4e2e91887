// Reads the arguments of a request: every getter refuses a wrong type or range and names the argument.
#pragma once

#include <caged/wire/message.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace caged::agent {

using wire::json;

class arguments {
 public:
  explicit arguments(const json& object);
  bool has(const char* name) const;
  std::string text(const char* name) const;  // required, no NUL
  std::string text(const char* name, std::string otherwise) const;
  bool flag(const char* name, bool otherwise) const;
  std::int64_t number(const char* name, std::int64_t low, std::int64_t high) const;  // required
  std::int64_t number(const char* name, std::int64_t low, std::int64_t high, std::int64_t otherwise) const;
  std::vector<std::string> texts(const char* name) const;  // absent: empty
  const json& object(const char* name) const;              // absent: an empty object
  // A file name may be any bytes: "path", or "path_base64" where it is not UTF-8.
  std::string path(const char* name = "path") const;
  std::string path(const char* name, std::string otherwise) const;

 private:
  const json* find(const char* name) const;
  const json& object_;
};

std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);
bool valid_utf8(std::string_view text) noexcept;
// Puts a file name into `out[name]`, and its bytes into `out[name_base64]` where it is not UTF-8.
void put_path(json& out, const char* name, std::string_view bytes);

}  // namespace caged::agent
