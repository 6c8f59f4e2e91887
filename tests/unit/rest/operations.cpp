#include "fixture.hpp"

namespace caged::rest::testing {

std::atomic<int> streams_ended{0}, looks_cancelled{0}, talks_ended{0};
std::atomic<std::uint64_t> bytes_written{0};

namespace {

json object(json properties, json required = json::array()) {
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", std::move(required)},
          {"additionalProperties", false}};
}

operation_info declare(std::string name, std::string method, std::string path, json input, scope needs = scope::read) {
  operation_info info;
  info.name = name;
  info.summary = "Does " + name + ".";
  info.needs = needs;
  info.input = std::move(input);
  info.output = {{"type", "object"}};
  info.method = std::move(method);
  info.path = std::move(path);
  return info;
}

task<reply> echo(call c) {
  reply r;
  r.body = {{"arguments", c.arguments}, {"who", c.who.key_id}, {"transport", c.transport}};
  r.headers = {{"ETag", "\"e\""}};
  co_return r;
}

task<reply> breaks(call) {
  throw std::runtime_error("boom");
  co_return reply{};
}

// A look that takes for ever unless it is cancelled.
task<reply> look(call) {
  asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  co_await never.async_wait(use_tuple);
  ++looks_cancelled;
  co_return fail(errc::cancelled, "cancelled", "cancelled", "");
}

class text_source final : public byte_source {
 public:
  explicit text_source(std::string text) : text_(std::move(text)) {}
  std::optional<std::uint64_t> size() const override { return size_; }
  task<std::string> read() override {
    std::string piece = text_.substr(0, 7);
    text_.erase(0, piece.size());
    co_return piece;
  }

 private:
  std::string text_;
  std::uint64_t size_ = text_.size();
};

task<reply> read_bytes(call c) {
  if (c.arguments.at("path") == "missing")
    co_return fail(errc::not_found, "no_such_file", "there is no such file", "List the folder.");
  reply r;
  r.bytes = std::make_shared<text_source>("0123456789abcdefghij");
  r.media_type = "text/plain";
  r.headers = {{"ETag", "\"x\""}};
  co_return r;
}

task<reply> write_bytes(call c) {
  reply r;
  r.body = {{"arguments", c.arguments}, {"media_type", c.media_type}};
  if (c.body) {
    std::string all;
    while (true) {
      auto piece = co_await c.body->read();
      if (piece.has_error()) co_return piece.error();
      if (piece->empty()) break;
      bytes_written += piece->size();
      if (all.size() < 100) all += *piece;
    }
    r.body["head"] = all.substr(0, 100);
    r.body["size"] = bytes_written.load();
  }
  co_return r;
}

// Counts from after the resume position; fails, ends or goes silent as the argument says.
class counting final : public item_source {
 public:
  counting(int from, std::string then) : at_(from), then_(std::move(then)) {}
  ~counting() override { ++streams_ended; }
  task<std::optional<stream_item>> next() override {
    if (at_ < 3) {
      ++at_;
      stream_item item;
      item.id = std::to_string(at_);
      item.event = "count";
      item.data = {{"n", at_}, {"text", "line\nbreak"}};
      co_return std::optional<stream_item>(std::move(item));
    }
    if (then_ == "end") co_return std::optional<stream_item>{};
    if (then_ == "throw") throw std::runtime_error("boom");
    if (then_ == "fail") co_return fail(errc::unavailable, "sandbox_lost", "the sandbox is gone", "Make a new one.");
    asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    co_await never.async_wait(use_tuple);
    co_return fail(errc::cancelled, "cancelled", "cancelled", "");
  }

 private:
  int at_;
  std::string then_;
};

task<reply> items(call c) {
  reply r;
  const int from = c.resume_after.empty() ? 0 : std::atoi(c.resume_after.c_str());
  r.items = std::make_shared<counting>(from, c.arguments.value("then", "end"));
  co_return r;
}

task<reply> talk(call c) {
  if (c.arguments.value("id", "") == "refused")
    co_return fail(errc::not_found, "sandbox_not_found", "there is no sandbox refused", "List them.");
  reply r;
  while (true) {
    auto message = co_await c.conversation->read();
    if (message.has_error() || !message->has_value()) break;
    if ((*message)->data == "end") break;
    if ((*message)->data == "fail")
      co_return fail(errc::unavailable, "sandbox_lost", "the sandbox is gone", "Make a new one.");
    stream_message answer = std::move(**message);
    answer.data += "!";
    const auto sent = co_await c.conversation->write(std::move(answer));
    if (sent.has_error()) break;
  }
  ++talks_ended;
  co_return r;
}

}  // namespace

void fill(small_registry& registry) {
  const json id{{"type", "string"}, {"pattern", "^[a-z0-9/ ]+$"}};
  const json text{{"type", "string"}};
  auto create = declare(
      "sandbox.create", "POST", "/v1/sandboxes",
      object({{"template", text}, {"cpus", {{"type", "integer"}}}, {"wait", {{"type", "boolean"}}}}, {"template"}),
      scope::sandbox);
  create.success = 201;
  create.examples.push_back({"A box", {{"template", "host"}}, {}});
  static_cast<void>(registry.add(create, echo));
  static_cast<void>(registry.add(declare("sandbox.get", "GET", "/v1/sandboxes/{id}",
                                         object({{"id", id},
                                                 {"depth", {{"type", "integer"}}},
                                                 {"tags", {{"type", "array"}, {"items", {{"type", "integer"}}}}}},
                                                {"id"})),
                                 echo));
  auto destroy =
      declare("sandbox.destroy", "DELETE", "/v1/sandboxes/{id}", object({{"id", id}}, {"id"}), scope::sandbox);
  destroy.success = 204;
  static_cast<void>(registry.add(destroy, echo));
  auto list = declare("sandbox.list", "GET", "/v1/sandboxes", object(json::object()));
  list.output = {{"type", "array"}, {"items", {{"$ref", "#/$defs/box"}}}, {"$defs", {{"box", {{"type", "object"}}}}}};
  list.read_only = true;
  static_cast<void>(registry.add(list, [](call) -> task<reply> {
    reply r;
    r.body = json::array({{{"status", "running"}}, {{"status", "running"}}, {{"status", "error"}}});
    co_return r;
  }));
  static_cast<void>(registry.add(declare("bug", "POST", "/v1/bug", object(json::object())), breaks));
  auto looking = declare("look", "GET", "/v1/look", object(json::object()));
  looking.read_only = true;
  static_cast<void>(registry.add(looking, look));
  auto reading = declare("file.read", "GET", "/v1/files/content", object({{"path", text}}, {"path"}));
  reading.gives = payload::bytes;
  static_cast<void>(registry.add(reading, read_bytes));
  auto writing = declare("file.write", "PUT", "/v1/files/content",
                         object({{"path", text}, {"content", text}}, {"path"}), scope::sandbox);
  writing.takes = payload::bytes;
  static_cast<void>(registry.add(writing, write_bytes));
  auto streaming = declare("events", "GET", "/v1/events", object({{"then", text}}));
  streaming.gives = payload::items;
  static_cast<void>(registry.add(streaming, items));
  auto talking = declare("terminal", "GET", "/v1/sandboxes/{id}/terminal",
                         object({{"id", id}, {"rows", {{"type", "integer"}}}}, {"id"}), scope::sandbox);
  talking.gives = payload::duplex;
  static_cast<void>(registry.add(talking, talk));
}

}  // namespace caged::rest::testing
