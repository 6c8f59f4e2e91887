// Finds the operation a method and a path mean. Built from the operation registry only; no sockets; fuzzed.
#pragma once

#include <caged/operation.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace caged::rest {

// Values of the {parameters} of a path, percent-decoded.
using path_parameters = std::map<std::string, std::string, std::less<>>;

struct route_match {
  const operation_info* operation = nullptr;  // null: see `allowed`
  path_parameters parameters;
  std::vector<std::string> allowed;           // methods the path has; empty = no such path
};

class router {
 public:
  // Operations without a method or a path have no route. invalid_argument when two operations claim one route or a
  // template is malformed.
  static result<router> make(const std::vector<const operation_info*>& operations);

  // `path` is raw. Literal segments are compared as they were sent, parameters are decoded; "", "." and ".." are no
  // values. HEAD means GET; OPTIONS never matches but fills `allowed`.
  route_match match(std::string_view method, std::string_view path) const;

 private:
  struct segment {
    std::string text;
    enum class kind : std::uint8_t { unset = 0, literal, parameter } what = kind::literal;
  };
  struct entry {
    std::vector<segment> segments;
    const operation_info* operation = nullptr;
  };
  std::vector<entry> entries_;  // those with more literals further left first
};

}  // namespace caged::rest
