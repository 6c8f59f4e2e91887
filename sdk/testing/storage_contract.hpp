// What every storage promises, as checks that run against any implementation of caged/storage.hpp.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>
#include <caged/storage.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <string>
#include <vector>

namespace caged::testing {

// An open, empty storage under test. `reopen` closes it and gives another one over the same data.
class storage_probe {
 public:
  storage_probe(asio::any_io_executor executor, storage& store, std::function<storage&()> reopen)
      : executor_(std::move(executor)),
        strand_(asio::make_strand(executor_)),
        store_(&store),
        reopen_(std::move(reopen)) {}

  storage& store() { return *store_; }
  asio::any_io_executor executor() { return executor_; }
  void reopen() { store_ = &reopen_(); }

  // Begins the work on the executor.
  template <class T>
  std::future<result<T>> begin(task<T> work) {
    return asio::co_spawn(executor_, std::move(work), asio::use_future);
  }
  // The same; what was begun before has been called before.
  template <class T>
  std::future<result<T>> begin_in_order(task<T> work) {
    return asio::co_spawn(strand_, std::move(work), asio::use_future);
  }
  // Runs it to its end, at most 20 s; a later end is a failure and an unavailable error.
  template <class T>
  result<T> wait(std::future<result<T>> pending, const std::string& what) {
    if (pending.wait_for(std::chrono::seconds(20)) == std::future_status::ready) return pending.get();
    failures.push_back(what + ": no answer within 20 s");
    return fail(errc::deadline_exceeded, "no_answer", what);
  }
  template <class T>
  result<T> run(task<T> work, const std::string& what) {
    return wait(begin(std::move(work)), what);
  }
  // The value; a failure is recorded and gives an empty one.
  template <class T>
  T need(task<T> work, const std::string& what) {
    auto done = run(std::move(work), what);
    if (done) return std::move(*done);
    failures.push_back(what + ": " + describe(done.error()));
    return T{};
  }
  void need(task<void> work, const std::string& what) {
    if (auto done = run(std::move(work), what); !done) failures.push_back(what + ": " + describe(done.error()));
  }
  template <class T>
  void refused(task<T> work, errc expected, const std::string& what) {
    auto done = run(std::move(work), what);
    if (done)
      failures.push_back(what + ": accepted, expected " + std::string(to_string(expected)));
    else if (done.error().code != expected)
      failures.push_back(what + ": refused with " + describe(done.error()));
    else if (done.error().message.empty() || done.error().reason.empty())
      failures.push_back(what + ": refused without a reason");
  }
  void expect(bool holds, const std::string& what) {
    if (!holds) failures.push_back(what);
  }

  std::vector<std::string> failures;

 private:
  asio::any_io_executor executor_;
  asio::strand<asio::any_io_executor> strand_;
  storage* store_;
  std::function<storage&()> reopen_;
};

struct storage_check {
  const char* name;
  void (*run)(storage_probe&);
};

// Each is for a fresh storage.
const std::vector<storage_check>& storage_checks();

}  // namespace caged::testing
