// One connection of a host: frames in and out, channels with credit, requests and their answers.
#pragma once

#include <atomic>
#include <caged/wire/credit.hpp>
#include <caged/wire/frame.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "arguments.hpp"
#include "loop.hpp"

namespace caged::agent {

class connection;

// What stands behind a channel. Called on the loop. A handler ends itself with connection::close_channel.
class channel_handler {
 public:
  virtual ~channel_handler() = default;
  virtual void opened() {}                      // send_room() works from here on
  virtual void data(std::string_view) {}        // then connection::consumed(), when the bytes are used up
  virtual void ended() {}                       // the host sends no more
  virtual void writable() {}                    // there may be room to send again
  virtual void closed() = 0;                    // the host reset the channel, or the connection is gone
};

// One request under way. Answers exactly once; later answers and answers to a lost connection go nowhere.
class call : public std::enable_shared_from_this<call> {
 public:
  call(std::weak_ptr<connection> from, std::uint64_t id, std::string operation, json args)
      : from_(std::move(from)), id_(id), operation_(std::move(operation)), args_(std::move(args)) {}

  const std::string& operation() const noexcept { return operation_; }
  const json& args() const noexcept { return args_; }
  std::shared_ptr<connection> from() const { return from_.lock(); }
  void answer(json value);
  void refuse(const wire::failure& f);
  // Set by the host's cancel and by the loss of the connection; work on other threads looks at it.
  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }
  void on_cancel(std::function<void()> action) { on_cancel_ = std::move(action); }

 private:
  friend class connection;
  std::weak_ptr<connection> from_;
  std::uint64_t id_;
  std::string operation_;
  json args_;
  std::atomic<bool> cancelled_ = false;
  std::function<void()> on_cancel_;
};

class connection : public std::enable_shared_from_this<connection> {
 public:
  using request_handler = std::function<void(std::shared_ptr<call>)>;
  connection(loop& l, fd socket, json hello_extra, request_handler on_request,
             std::function<void(connection&)> on_lost);
  ~connection();

  void start();
  void send_notice(std::string_view type, const json& data);  // nothing before the handshake
  void drop(std::string why);

  // Channels. Numbers are the host's choice; an open one may not be opened again.
  void open_channel(std::uint32_t number, std::shared_ptr<channel_handler> handler);
  void close_channel(std::uint32_t number);  // forgets it, without a call to closed()
  std::size_t send_room(std::uint32_t number) const;
  void send_data(std::uint32_t number, wire::frame_kind kind, std::string_view bytes);
  void send_channel_message(std::uint32_t number, const json& message);
  void send_end(std::uint32_t number);
  void send_reset(std::uint32_t number, const wire::failure* why);
  void consumed(std::uint32_t number, std::size_t bytes);
  // Calls the channel's writable() on a later turn of the loop, if it is still open then.
  void call_again(std::uint32_t number);
  bool flushed() const noexcept { return out_.size() == out_done_; }

 private:
  friend class call;
  struct channel {
    std::shared_ptr<channel_handler> handler;
    wire::send_window send;
    wire::receive_window receive;
  };
  void on_ready(std::uint32_t events);
  void read_frames();
  void on_frame(const wire::frame& f);
  void on_message(const std::string& text);
  void on_channel_frame(const wire::frame& f);
  void finish_call(std::uint64_t id, const json& message);
  void send_message(const json& message);
  void flush();
  void update_interest();
  void let_write();

  loop& loop_;
  fd socket_;
  json hello_extra_;
  request_handler on_request_;
  std::function<void(connection&)> on_lost_;
  wire::decoder decoder_;
  wire::message_joiner joiner_;
  std::string out_;
  std::size_t out_done_ = 0;
  std::uint32_t interest_ = 0;
  bool agreed_ = false, lost_ = false, starved_ = false, writing_ = false;
  std::unordered_map<std::uint32_t, std::shared_ptr<channel>> channels_;
  std::unordered_map<std::uint64_t, std::shared_ptr<call>> calls_;
};

}  // namespace caged::agent
