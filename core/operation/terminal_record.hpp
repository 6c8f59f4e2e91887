// What a terminal shows, into the journal: pieces joined, so that a chatty program is not a fact a byte.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/operation/families.hpp"

namespace caged::operation {

// On the loop thread. Nothing that is typed is recorded but what the terminal echoes.
class terminal_record {
 public:
  terminal_record(services* s, std::shared_ptr<sandbox::live> box, std::string process, int cols, int rows);
  ~terminal_record() { flush(); }
  void take(std::string_view output);

 private:
  static constexpr std::size_t most_held = 16 * 1024;
  static constexpr std::int64_t longest_us = 100'000;
  static constexpr std::uint64_t most_kept = 64u << 20;  // of one terminal; what comes after is counted, not kept
  void flush();

  services* services_;
  std::shared_ptr<sandbox::live> box_;
  std::string process_, held_;
  std::int64_t since_us_ = 0;
  std::uint64_t kept_ = 0, dropped_ = 0;
  json next_ = json::object();  // what the next fact tells besides: the size, once
};

}  // namespace caged::operation
