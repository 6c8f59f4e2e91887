// The host's end of the witness: starts it, gives it boxes to observe, takes what it recorded.
#pragma once

#include "launcher/unique_fd.hpp"
#include "launcher/witness.hpp"

#include <caged/result.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

namespace caged::vmm::jail {

// Thread-safe between open() and close(). Keeps a copy of every listener: a witness that is killed is replaced, and no
// process in a box waits for ever or runs unseen.
class witness_link {
 public:
  struct handlers {
    std::function<void(std::string_view)> packet;  // records, several; on the link's own thread
    std::function<void()> tick;                    // at least every 50 ms, on the same thread
    std::function<void(std::string)> lost;         // for the log: the witness ended and another one took over
  };
  witness_link(std::filesystem::path launcher, handlers h) : launcher_(std::move(launcher)), handlers_(std::move(h)) {}
  ~witness_link() { close(); }

  // `folder`: where the witness listens, "witness.sock"; takes over one that a host before us started. Blocks.
  result<void> open(int folder);
  void close();

  // The witness answers `listener` from the moment this returns.
  result<void> add(std::uint64_t token, unique_fd listener);
  void drop(std::uint64_t token);
  // Takes a box over whose listener a host before us had given to the witness. False: nobody has it any more.
  bool take_over(std::uint64_t token);

 private:
  // These with guard_ held.
  result<void> connect_or_start();
  result<void> connect();
  result<void> ask_once(std::uint64_t token, const char* verb, int fd, unique_fd* handed);
  result<void> start();
  result<unique_fd> dial() const;
  result<void> ask(std::uint64_t token, const char* verb, int fd, unique_fd* handed);
  void read_records();
  void replace_witness();
  void answer_for_the_dead() const;

  const std::filesystem::path launcher_;
  const handlers handlers_;
  std::mutex guard_;  // all below; held while the witness is asked, which answers in microseconds
  unique_fd folder_, commands_, memory_, wake_;
  std::shared_ptr<unique_fd> records_;  // the reader may still wait on it while another takes its place
  std::map<std::uint64_t, unique_fd> listeners_;
  std::uint64_t generation_ = 0;  // of connections
  bool closing_ = false;
  std::thread reader_;
};

}  // namespace caged::vmm::jail
