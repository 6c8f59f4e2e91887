// What the host gives a plugin. Every pointer stays valid from create() until close() has returned.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <caged/json.hpp>
#include <filesystem>
#include <string_view>

namespace caged {

enum class log_level : std::uint8_t { unset = 0, debug, info, warn, error };

class host {
 public:
  virtual ~host() = default;

  // The executor all coroutines of the plugin run on. Never block it for more than a few milliseconds.
  virtual boost::asio::any_io_executor executor() = 0;
  // An executor for blocking work (file systems, libraries without an asynchronous form). Bounded number of threads.
  virtual boost::asio::any_io_executor blocking_executor() = 0;

  // Thread-safe. The channel is the plugin's name ("vmm.jail"); control characters are escaped by the host.
  virtual void log(log_level level, std::string_view message) = 0;

  // A folder of the plugin's own inside the data folder; exists, mode 0700.
  virtual std::filesystem::path data_dir() const = 0;
  // Where the programs of this installation lie (caged-agent, caged-jail-launcher …).
  virtual std::filesystem::path program_dir() const = 0;

  // An interface of the host or of another plugin by its name; nullptr when there is none. Ask in open(), not create().
  virtual void* find_service(std::string_view name) noexcept = 0;

  template <class Interface>
  Interface* service() noexcept {
    return static_cast<Interface*>(find_service(Interface::interface_name));
  }
};

}  // namespace caged
