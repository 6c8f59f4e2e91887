// The connection behind agent_client: frames in and out, requests, channels, and what happens when it is lost.
#pragma once

#include <caged/streams.hpp>
#include <caged/task.hpp>
#include <caged/vmm.hpp>
#include <caged/wire/credit.hpp>
#include <caged/wire/frame.hpp>
#include <caged/wire/message.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>

namespace caged::sandbox {

// Everything here runs on the executor given to open(), which is one thread or a strand, as do the callers. A box is
// not trusted: what it may make this side hold is bounded by the credit given out and by the size of one message. The
// caller's executor itself: hopping to a strand of our own would meet a fault of Boost 1.81, whose co_spawn keeps a
// bare pointer to the cancellation signal while the cancellation travels to another strand.
using link_strand = asio::any_io_executor;

// A condition to wait for on the strand: look, wait(), look again.
class wakeup {
 public:
  explicit wakeup(const link_strand& on) : timer_(on, asio::steady_timer::time_point::max()) {}
  // False when the waiting coroutine was cancelled.
  asio::awaitable<bool> wait();
  void notify() { timer_.cancel(); }

 private:
  asio::steady_timer timer_;
};

// One channel, seen from the host. What arrives is queued; the window bounds it.
struct link_channel {
  explicit link_channel(const link_strand& on) : changed(on) {}
  struct piece {
    wire::frame_kind kind;  // data, data_err or message
    std::string bytes;
  };
  std::uint32_t number = 0;
  std::deque<piece> pieces;
  wire::send_window send;
  wire::receive_window receive;
  wire::message_joiner joiner;
  bool ended = false;              // the agent sends no more data
  bool answered = false;           // of an upload: stop sending
  bool joinable = true;            // false: each data frame is an item of its own (watch)
  std::optional<error> broken;     // reset by the agent, or the link is lost
  wakeup changed;
};

class agent_link : public std::enable_shared_from_this<agent_link> {
 public:
  agent_link(asio::any_io_executor executor, box_stream stream);

  const link_strand& strand() const noexcept { return strand_; }

  // On the strand, all of these.
  task<void> open();
  task<json> request(std::string operation, json arguments);
  // Like request(), but a process that was started for nobody (the caller was cancelled) is ended.
  task<json> start_request(std::string operation, json arguments);
  // A request whose answer is taken later, with finish_request().
  struct pending {
    explicit pending(const link_strand& on) : changed(on) {}
    std::uint64_t id = 0;
    std::optional<result<json>> answer;
    std::shared_ptr<link_channel> upload;  // told when the answer is there
    wakeup changed;
  };
  result<std::shared_ptr<pending>> begin_request(std::string operation, json arguments);
  task<json> finish_request(std::shared_ptr<pending> asked);

  std::shared_ptr<link_channel> open_channel();
  // Forgets the channel; tells the agent unless the link is lost.
  void let_go(std::uint32_t number);
  // The next piece; nullopt at the end.
  task<std::optional<link_channel::piece>> next_piece(std::shared_ptr<link_channel> from);
  // Waits for credit until all is sent. conflict (reason "channel_ended") when the other side wants no more.
  task<void> send_data(std::shared_ptr<link_channel> to, std::string bytes);
  void send_end(std::uint32_t number);

  void set_notice(std::function<void(std::string, json)> handler) { on_notice_ = std::move(handler); }
  asio::awaitable<error> wait_lost();
  // Any time, also twice.
  void lose(error why);

 private:
  asio::awaitable<void> read_loop();
  asio::awaitable<void> write_loop();
  asio::awaitable<void> watch_over();
  void on_frame(const wire::frame& f);
  void on_channel_frame(const wire::frame& f, const std::shared_ptr<link_channel>& c);
  void on_message(const std::string& text);
  void on_answer(std::uint64_t id, json& message);
  void send_message(const json& message);
  void end_orphan(const json& started);

  link_strand strand_;
  box_stream stream_;
  wire::decoder decoder_;
  wire::message_joiner joiner_;
  std::string out_;
  wakeup out_changed_, lost_changed_, opened_changed_;
  asio::steady_timer watch_timer_;
  std::chrono::milliseconds heartbeat_{5000};
  std::chrono::steady_clock::time_point last_frame_;
  bool agreed_ = false;
  std::optional<error> lost_;
  std::uint64_t last_request_ = 0;
  std::uint32_t last_channel_ = 0;
  std::unordered_map<std::uint64_t, std::shared_ptr<pending>> pending_;
  std::unordered_map<std::uint64_t, std::size_t> orphans_;  // start requests whose caller has gone
  std::unordered_map<std::uint32_t, std::shared_ptr<link_channel>> channels_;
  std::function<void(std::string, json)> on_notice_;
};

// The failure of an agent as an error of ours.
error from_wire(const wire::failure& f);

}  // namespace caged::sandbox
