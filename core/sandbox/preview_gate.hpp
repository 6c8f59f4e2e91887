// Ports of sandboxes as previews: who may pass, and the connection inside.
#pragma once

#include <caged/preview_access.hpp>

#include "core/sandbox/manager.hpp"

namespace caged::sandbox {

inline constexpr std::size_t most_previews = 20;  // ports of one sandbox

// Made before the plugins, which may hold it. On the loop thread.
class preview_gate : public preview_access {
 public:
  void connect(manager* m, asio::any_io_executor pool) {
    sandboxes_ = m;
    pool_ = std::move(pool);
  }

  // "" when no transport serves previews.
  std::string url(std::string_view sandbox_id, int port) const { return url_ ? url_(sandbox_id, port) : std::string(); }
  static bool guarded(const record& r, int port) { return r.port_passwords.contains(std::to_string(port)); }
  // "" takes the password away.
  task<void> protect(std::string sandbox_id, int port, std::string password);

  result<preview_door> look(std::string_view sandbox_id, int port) override;
  task<bool> opens(std::string sandbox_id, int port, std::string password) override;
  task<preview_connection> dial(std::string sandbox_id, int port, waking w) override;
  void offer_urls(std::function<std::string(std::string_view, int)> url) override { url_ = std::move(url); }

 private:
  manager* sandboxes_ = nullptr;
  asio::any_io_executor pool_;
  std::function<std::string(std::string_view, int)> url_;
};

}  // namespace caged::sandbox
