// A loop, a pool, a data folder and a plugin_host on them, for the tests of this folder.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <mutex>
#include <thread>

#include "core/plugin/plugin_host.hpp"

namespace caged::plugins {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

inline fs::path module_path(const std::string& name) {
  return fs::path(CAGED_BUILD_DIR) / "tests/modules" / (name + ".so");
}

class PluginTest : public ::testing::Test {
 protected:
  PluginTest() : work_(context_.get_executor()), thread_([this] { context_.run(); }) {
    std::string pattern = (fs::temp_directory_path() / "caged-plugin-test-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    host_options o;
    o.executor = context_.get_executor();
    o.blocking_executor = pool_.get_executor();
    o.data_dir = folder_ / "data";
    o.program_dir = folder_;
    o.log = [this](log_level, std::string_view channel, std::string_view message) {
      const std::lock_guard lock(log_mutex_);
      log_ += std::string(channel) + ": " + std::string(message) + "\n";
    };
    o.limits = {300ms, 300ms, 300ms, 300ms, 300ms, 150ms};
    host_ = std::make_unique<plugin_host>(std::move(o));
  }
  ~PluginTest() override {
    host_.reset();
    work_.reset();
    thread_.join();
    pool_.join();
    fs::remove_all(folder_);
  }

  // The error of loading a module; fails the test when it loads.
  error refusal(const fs::path& file, json config = json::object()) {
    auto r = host_->load(file, std::move(config));
    EXPECT_TRUE(r.has_error()) << file << " was loaded";
    return r.has_error() ? r.error() : error{};
  }

  // A copy that may be spoiled.
  fs::path copy_of(const std::string& name) {
    const fs::path to = folder_ / (name + ".so");
    fs::copy_file(module_path(name), to, fs::copy_options::overwrite_existing);
    ::chmod(to.c_str(), 0644);
    return to;
  }

  // The host serves as if the broken plugin had never been: a good one goes through its whole life.
  void expect_unharmed() {
    EXPECT_TRUE(host_->load(module_path("good"), {}).has_value());
    EXPECT_TRUE(host_->open_all().has_value());
    EXPECT_TRUE(host_->serve_all().has_value());
    EXPECT_NE(host_->find<tool>("good"), nullptr);
    EXPECT_TRUE(host_->drain_all().has_value());
    EXPECT_TRUE(host_->close_all().has_value());
    EXPECT_EQ(host_->find<tool>("good"), nullptr);
  }

  boost::asio::io_context context_;
  boost::asio::thread_pool pool_{2};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
  fs::path folder_;
  std::mutex log_mutex_;
  std::string log_;
  std::unique_ptr<plugin_host> host_;
};

}  // namespace caged::plugins
