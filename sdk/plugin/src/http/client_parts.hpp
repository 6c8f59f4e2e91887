// The insides of the client's handles, shared by its source files.
#pragma once

#include <mutex>

#include "client_answer.hpp"

namespace caged::http {

struct client_stream::state {
  std::unique_ptr<client_link> link;
  client_answer answer;
  std::chrono::milliseconds silence{0};
};

struct client_websocket::state {
  std::unique_ptr<client_link> link;
  std::string subprotocol;
  std::size_t max_message = 0;

  std::mutex reading;           // held by the thread in read()
  std::mutex writing;           // a frame is written whole
  std::string partial;          // fragments so far
  bool in_message = false, text = false;
  std::atomic<bool> close_sent{false};
  std::atomic<std::uint16_t> code{0};
  std::mutex reason_lock;
  std::string reason;

  result<void> send_frame(unsigned opcode, std::string_view data);
  // Takes one frame out of link->in; nullopt when it is not there as a whole.
  struct frame {
    bool last = true;
    unsigned opcode = 0;
    std::string data;
  };
  result<std::optional<frame>> take_frame();
  // What a frame means for the reader: a message, the end (code set), or nothing yet.
  result<std::optional<stream_message>> take_in(frame f);
  error break_off(std::uint16_t why, const std::string& message);
  void closed(std::uint16_t why, std::string_view what);
};

std::string websocket_key();
std::string websocket_accept(std::string_view key);
std::string to_hex(std::size_t n);

}  // namespace caged::http
