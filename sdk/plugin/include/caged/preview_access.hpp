// The way from outside to a port of a sandbox, as a transport sees it.
#pragma once

#include <caged/byte_stream.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace caged {

// What stands before a port.
struct preview_door {
  std::string state;          // of the sandbox: "running", "paused" …
  bool guarded = false;       // asks for a password
  std::string guard;          // changes with the password; never the password, nor anything to guess it by
};

// A connection to a port; the sandbox does not count as idle while it is held.
struct preview_connection {
  std::shared_ptr<byte_stream> stream;
  std::shared_ptr<void> busy;
};

// Whether a paused sandbox is resumed for a request.
enum class waking : std::uint8_t { unset = 0, never, on_request };

// Service of the host. On the host's executor.
class preview_access {
 public:
  static constexpr std::string_view interface_name = "caged.preview_access.v1";
  virtual ~preview_access() = default;

  // not_found when there is no such sandbox; limit_exceeded when it has more ports than are shown and this is not one
  // of the first.
  virtual result<preview_door> look(std::string_view sandbox_id, int port) = 0;
  // Constant time in the password; slow on purpose.
  virtual task<bool> opens(std::string sandbox_id, int port, std::string password) = 0;
  // Reaches what listens inside, loopback too. Errors: conflict ("sandbox_not_running"), unavailable ("port_closed"),
  // unsupported when the backend has no network.
  virtual task<preview_connection> dial(std::string sandbox_id, int port, waking w) = 0;
  // How the address of a port looks; shown in the list of ports. Empty takes it back.
  virtual void offer_urls(std::function<std::string(std::string_view sandbox_id, int port)> url) = 0;
};

}  // namespace caged
