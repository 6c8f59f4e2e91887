// The agent's connections over the one port of a virtual machine, and the host's word to hold still and to go on.
#pragma once

#include <caged/wire/bundle.hpp>
#include <functional>
#include <map>
#include <string>

#include "handle.hpp"
#include "loop.hpp"

namespace caged::agent {

class port_server final : private wire::bundle_events {
 public:
  struct handlers {
    std::function<void(fd)> serve;       // a new connection
    std::function<void()> hold;          // everything of the user's is to stand still when it returns
    std::function<json(const json&)> go;  // the host's word; the answer; may throw
    std::function<void()> lost;          // the port is of no more use
  };
  // Begins in the held state: nothing runs before the host says who this machine is.
  port_server(loop& l, fd port, handlers h);
  ~port_server() override;

 private:
  struct line {
    fd end;  // ours of a socket pair
    std::string waiting;  // for it
    std::uint32_t interest = 0;
  };
  void opened(std::uint32_t stream) override;
  void data(std::uint32_t stream, std::string_view bytes) override;
  void closed(std::uint32_t stream) override;
  void writable() override { watch_lines(); }
  void held() override;
  void message(const std::string& text) override;

  void on_port(std::uint32_t events);
  void on_line(std::uint32_t stream, std::uint32_t events);
  void drop_line(std::uint32_t stream);
  void flush();
  void watch_lines();
  void watch(std::uint32_t stream, line& l);

  loop& loop_;
  fd port_;
  handlers handlers_;
  wire::bundle bundle_{*this};
  std::map<std::uint32_t, line> lines_;
  std::uint32_t interest_ = 0;
  bool holding_still_ = true, lost_ = false;
};

}  // namespace caged::agent
