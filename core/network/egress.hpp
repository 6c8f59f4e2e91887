// The egress plane: the host is the network of every sandbox. Names, verdicts, connections, facts about them.
#pragma once

#include <caged/event.hpp>
#include <caged/host.hpp>
#include <caged/vmm_network.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/network/pump.hpp"
#include "core/network/resolver.hpp"
#include "core/network/rules.hpp"
#include "core/runtime/scope.hpp"

namespace caged::network {

// What the operator configured (host configuration, `network`).
struct settings {
  resolver::options names;
  std::vector<host_pattern> allow_inner;  // addresses of the inner classes that sandboxes may reach all the same
  std::string proxy_host;                 // an HTTP proxy that connections go out through; "" = none
  std::uint16_t proxy_port = 0;
  std::string proxy_authorization;        // value of Proxy-Authorization
  std::vector<std::string> proxy_not_for; // names and suffixes (".example.org") dialled directly
  std::size_t flows = 16384;              // of one sandbox at a time
};

// One question to the host's policies: the gate event network.connect. A deny ends the connection.
using policy_question = std::function<task<verdict>(std::string sandbox_id, json event)>;

class box_network;

// All methods on the executor, which is one thread.
class egress {
 public:
  struct parts {
    asio::any_io_executor executor;
    settings options;
    std::function<void(event)> publish;
    policy_question policy;  // empty: mode and allow-list decide alone
    // Names under caged.internal that the host serves itself, and the handing over of a connection to one. Empty: none.
    std::function<bool(std::string_view host)> serves;
    std::function<void(tcp::socket connection, std::string already_read, std::string sandbox_id)> hand_over;
    std::function<void(log_level, std::string)> log;
  };
  explicit egress(parts p);
  ~egress();

  // Opens the box's gate and begins to serve it: after it was made, and after it was adopted. Once more replaces.
  task<void> open(std::string id, vmm_network& backend, rules r);
  // Takes effect at once: connections that are no longer allowed are cut.
  void change(const std::string& id, rules r);
  void close(const std::string& id);
  bool is_open(const std::string& id) const { return boxes_.contains(id); }
  // Whether anything under caged.internal is served: then a sandbox of mode none needs a gate too.
  bool serves_anything() const;
  // Ends everything; the gates die with it.
  asio::awaitable<void> stop();

  // {open_connections, connections, denied, bytes_in, bytes_out} since the gate was opened; null without one.
  json status(const std::string& id) const;

 private:
  friend class box_network;
  asio::awaitable<void> finish(std::shared_ptr<box_network> box);
  // The class of an address nobody may reach ("own" for the host's); "" when it may be dialled.
  std::string inner_class(const ip_address& address, std::uint16_t port);
  // Whether a box that has `own` connections may have one more: within its own limit, and so that descriptors are left
  // for the other boxes and for the rest of the server.
  bool has_room(std::size_t own) const noexcept;

  parts parts_;
  resolver names_;
  pipe_pool pipes_;
  own_addresses own_;
  const std::size_t most_flows_;  // of all boxes, by the descriptors this process may have
  std::size_t open_flows_ = 0;
  runtime::scope work_;
  std::map<std::string, std::shared_ptr<box_network>> boxes_;
};

}  // namespace caged::network
