// Both directions of a connection, as bytes.
#pragma once

#include <caged/task.hpp>
#include <chrono>
#include <string>

namespace caged {

// One reader and one writer at a time; close() by anyone on the same executor.
class byte_stream {
 public:
  virtual ~byte_stream() = default;
  // What comes next, "" at the end. deadline_exceeded when nothing came for `longest`; the stream is of no use then.
  virtual task<std::string> read(std::chrono::milliseconds longest) = 0;
  virtual task<void> write(std::string bytes, std::chrono::milliseconds longest) = 0;
  virtual void close() noexcept = 0;
};

}  // namespace caged
