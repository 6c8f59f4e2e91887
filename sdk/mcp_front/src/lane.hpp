// The messages of one stream, kept until they are read, and for whoever comes back after losing the connection.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <deque>

#include <caged/mcp_front/front_service.hpp>

namespace caged::mcp {

struct lane {
  static constexpr std::size_t most_kept = 1000, most_bytes = 32u << 20;

  struct event {
    std::uint64_t number;  // from 1; 0 is the priming event
    std::string text;
    outlet::kind what;
    int status;
  };

  lane(asio::any_io_executor on, std::string called) : name(std::move(called)), signal(on) {}

  std::string name;
  std::deque<event> events;
  std::size_t bytes = 0;
  std::uint64_t last = 0;
  std::uint64_t reader = 0;      // which of those that read is the present one
  bool occupied = false;         // somebody reads
  bool ended = false;            // no further event will come
  bool hung_up = false;          // whoever reads is to go and come back
  revision spoken = revision::unset;  // set where events have ids
  asio::steady_timer signal;     // cancelled when something happened

  void push(std::string text, outlet::kind what, int status);
  void forget() {
    events.clear();
    bytes = 0;
  }
  void end() {
    ended = true;
    signal.cancel();
  }
};

// An outlet into a lane.
class lane_outlet : public outlet {
 public:
  explicit lane_outlet(std::shared_ptr<lane> to) : lane_(std::move(to)) {}
  void send(std::string text, kind what, int http_status) override;
  void hang_up() override;

 private:
  std::shared_ptr<lane> lane_;
};

struct http_session {
  std::string id;
  surroundings in;
  std::shared_ptr<dialog> talk;
  std::map<std::string, std::shared_ptr<lane>> lanes;  // by name
  std::deque<std::string> order;                       // names, oldest first
  std::shared_ptr<lane> standing;                      // of the GET stream
  std::shared_ptr<lane_outlet> unsolicited;
  std::chrono::steady_clock::time_point used = std::chrono::steady_clock::now();
  int last_lane = 0;

  std::shared_ptr<lane> new_lane(asio::any_io_executor on);
};

// A JSON-RPC error as the answer to a request that reached no dialog. A discarded id is left out, as the stateless era
// does with one that cannot be read.
http::response refusal(int status, int code, const std::string& message, json data = nullptr, const json& id = nullptr);
std::string header_of(const http::request& head, std::string_view name);

}  // namespace caged::mcp
