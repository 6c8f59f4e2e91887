#include "core/sandbox/agent_client.hpp"

#include "core/sandbox/agent_link.hpp"

namespace caged::sandbox {
namespace {

using link_ptr = std::shared_ptr<agent_link>;
using channel_ptr = std::shared_ptr<link_channel>;

// Holds a channel and lets go of it, from whatever thread the last owner is on.
class held_channel {
 public:
  held_channel(link_ptr l, channel_ptr c) : link(std::move(l)), channel(std::move(c)) {}
  held_channel(const held_channel&) = delete;
  ~held_channel() {
    asio::post(link->strand(), [l = link, number = channel->number] { l->let_go(number); });
  }
  link_ptr link;
  channel_ptr channel;
};

task<void> send_on(std::shared_ptr<held_channel> to, std::string bytes) {
  co_return co_await to->link->send_data(to->channel, std::move(bytes));
}

task<std::optional<link_channel::piece>> take_from(std::shared_ptr<held_channel> from) {
  co_return co_await from->link->next_piece(from->channel);
}

task<void> end_on(std::shared_ptr<held_channel> to) {
  to->link->send_end(to->channel->number);
  co_return result<void>();
}

class process_handle final : public agent_process {
 public:
  process_handle(std::shared_ptr<held_channel> held, std::string id, std::int64_t pid)
      : held_(std::move(held)), id_(std::move(id)), pid_(pid) {}

  const std::string& id() const noexcept override { return id_; }
  std::int64_t pid() const noexcept override { return pid_; }

  task<std::optional<process_item>> next() override {
    auto taking = take_from(held_);
    auto piece = co_await std::move(taking);
    if (!piece) co_return piece.error();
    if (!*piece) co_return std::nullopt;
    process_item item;
    if ((*piece)->kind == wire::frame_kind::message) {
      const auto message = wire::parse((*piece)->bytes);
      if (!message || !message->is_object() || !message->contains("exit"))
        co_return fail(errc::unavailable, "sandbox_lost", "the agent sent an end that cannot be read",
                       "Look at the sandbox's state.");
      item.what = process_item::kind::exit;
      item.exit = message->at("exit");
    } else {
      item.what = (*piece)->kind == wire::frame_kind::data_err ? process_item::kind::err : process_item::kind::out;
      item.data = std::move((*piece)->bytes);
    }
    co_return std::optional<process_item>(std::move(item));
  }

  task<void> write_stdin(std::string data) override {
    auto sending = send_on(held_, std::move(data));
    co_return co_await std::move(sending);
  }

  task<void> close_stdin() override {
    auto ending = end_on(held_);
    co_return co_await std::move(ending);
  }

  task<void> resize(int columns, int rows) override {
    json arguments{{"id", id_}, {"cols", columns}, {"rows", rows}};
    auto asking = held_->link->request("pty.resize", std::move(arguments));
    auto answer = co_await std::move(asking);
    if (!answer) co_return answer.error();
    co_return result<void>();
  }

 private:
  std::shared_ptr<held_channel> held_;
  std::string id_;
  std::int64_t pid_;
};

class download_bytes final : public byte_source {
 public:
  download_bytes(std::shared_ptr<held_channel> held, std::optional<std::uint64_t> size)
      : held_(std::move(held)), size_(size) {}
  task<std::string> read() override {
    auto taking = take_from(held_);
    auto piece = co_await std::move(taking);
    if (!piece) co_return piece.error();
    if (!*piece) co_return std::string();
    co_return std::move((*piece)->bytes);
  }
  std::optional<std::uint64_t> size() const override { return size_; }

 private:
  std::shared_ptr<held_channel> held_;
  std::optional<std::uint64_t> size_;
};

class watch_items final : public item_source {
 public:
  explicit watch_items(std::shared_ptr<held_channel> held) : held_(std::move(held)) {}
  task<std::optional<stream_item>> next() override {
    auto taking = take_from(held_);
    auto piece = co_await std::move(taking);
    if (!piece) co_return piece.error();
    if (!*piece) co_return std::nullopt;
    auto data = wire::parse((*piece)->bytes);
    if (!data)
      co_return fail(errc::unavailable, "sandbox_lost", "the agent sent a change that cannot be read", "Watch again.");
    stream_item item;
    item.event = "change";
    item.data = std::move(*data);
    co_return std::optional<stream_item>(std::move(item));
  }

 private:
  std::shared_ptr<held_channel> held_;
};

struct opened {
  std::shared_ptr<held_channel> held;
  json head;
};

// A request that comes with a channel.
task<opened> open_with_channel(link_ptr link, std::string operation, json arguments, bool starts) {
  opened made;
  made.held = std::make_shared<held_channel>(link, link->open_channel());
  made.held->channel->joinable = operation != "file.watch";
  arguments["channel"] = made.held->channel->number;
  auto asking = starts ? link->start_request(std::move(operation), std::move(arguments))
                       : link->request(std::move(operation), std::move(arguments));
  auto answer = co_await std::move(asking);
  if (!answer) co_return answer.error();
  made.head = std::move(*answer);
  co_return made;
}

task<json> upload(link_ptr link, json arguments, std::shared_ptr<byte_source> bytes) {
  const auto held = std::make_shared<held_channel>(link, link->open_channel());
  arguments["channel"] = held->channel->number;
  auto asked = link->begin_request("file.write", std::move(arguments));
  if (!asked) co_return asked.error();
  const auto pending = *asked;
  pending->upload = held->channel;
  while (!pending->answer) {
    auto piece = co_await bytes->read();
    if (!piece) {
      // The agent throws away what it has; the old file stays.
      link->let_go(held->channel->number);
      auto ignored = co_await link->finish_request(pending);
      co_return piece.error();
    }
    if (piece->empty()) {
      link->send_end(held->channel->number);
      break;
    }
    auto sent = co_await link->send_data(held->channel, std::move(*piece));
    if (!sent && sent.error().code == errc::cancelled) {
      link->let_go(held->channel->number);
      co_return sent.error();
    }
    if (!sent) break;  // refused meanwhile: the answer says why
  }
  co_return co_await link->finish_request(pending);
}

asio::awaitable<error> lost_on(link_ptr link) { co_return co_await link->wait_lost(); }
task<void> open_on(link_ptr link) { co_return co_await link->open(); }

std::string text_in(const json& value, const char* key) {
  if (!value.is_object()) return {};
  const auto it = value.find(key);
  return it != value.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::int64_t number_in(const json& value, const char* key) {
  if (!value.is_object()) return 0;
  const auto it = value.find(key);
  return it != value.end() && it->is_number_integer() ? it->get<std::int64_t>() : 0;
}

class client final : public agent_client {
 public:
  explicit client(link_ptr link) : link_(std::move(link)) {}
  ~client() override { close(); }

  task<json> request(std::string operation, json arguments) override {
    const link_ptr link = link_;
    auto asking = link->request(std::move(operation), std::move(arguments));
    co_return co_await std::move(asking);
  }

  task<std::shared_ptr<agent_process>> start(std::string operation, json arguments) override {
    const link_ptr link = link_;
    auto opening = open_with_channel(link, std::move(operation), std::move(arguments), true);
    auto made = co_await std::move(opening);
    if (!made) co_return made.error();
    co_return enter(*made);
  }

  task<std::shared_ptr<agent_process>> attach(std::string process_id) override {
    const link_ptr link = link_;
    json arguments{{"id", process_id}};
    auto opening = open_with_channel(link, "process.attach", std::move(arguments), false);
    auto made = co_await std::move(opening);
    if (!made) co_return made.error();
    co_return enter(*made);
  }

  task<download> read_file(json arguments) override {
    const link_ptr link = link_;
    auto opening = open_with_channel(link, "file.read", std::move(arguments), false);
    auto made = co_await std::move(opening);
    if (!made) co_return made.error();
    download d;
    const std::int64_t length = number_in(made->head, "length");
    d.bytes =
        std::make_shared<download_bytes>(made->held, static_cast<std::uint64_t>(std::max<std::int64_t>(length, 0)));
    d.head = std::move(made->head);
    co_return d;
  }

  task<json> write_file(json arguments, std::shared_ptr<byte_source> bytes) override {
    const link_ptr link = link_;
    auto uploading = upload(link, std::move(arguments), std::move(bytes));
    co_return co_await std::move(uploading);
  }

  task<std::shared_ptr<item_source>> watch(json arguments) override {
    const link_ptr link = link_;
    auto opening = open_with_channel(link, "file.watch", std::move(arguments), false);
    auto made = co_await std::move(opening);
    if (!made) co_return made.error();
    std::shared_ptr<item_source> items = std::make_shared<watch_items>(made->held);
    co_return items;
  }

  void on_notice(std::function<void(std::string, json)> handler) override {
    asio::dispatch(link_->strand(),
                   [link = link_, handler = std::move(handler)]() mutable { link->set_notice(std::move(handler)); });
  }

  asio::awaitable<error> wait_lost() override {
    const link_ptr link = link_;
    auto waiting = lost_on(link);
    co_return co_await std::move(waiting);
  }

  void close() override {
    asio::dispatch(link_->strand(), [link = link_] {
      link->lose(
          fail(errc::unavailable, "connection_closed", "this side closed the connection to the box", "Connect again."));
    });
  }

 private:
  result<std::shared_ptr<agent_process>> enter(opened& made) {
    const std::string id = text_in(made.head, "id");
    if (id.empty())
      return fail(errc::internal, "bad_answer", "the agent did not name the process it started",
                  "Report this as a bug.");
    return std::shared_ptr<agent_process>(std::make_shared<process_handle>(made.held, id, number_in(made.head, "pid")));
  }

  link_ptr link_;
};

}  // namespace

task<std::shared_ptr<agent_client>> agent_client::open(asio::any_io_executor executor, box_stream stream) {
  const link_ptr link = std::make_shared<agent_link>(std::move(executor), std::move(stream));
  auto opening = open_on(link);
  auto done = co_await std::move(opening);
  if (!done) co_return done.error();
  std::shared_ptr<agent_client> made = std::make_shared<client>(link);
  co_return made;
}

}  // namespace caged::sandbox
