// HTTP without a socket: one exchange at a time, kept in memory.
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <caged/testing/fakes.hpp>

namespace caged::testing {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string decoded(std::string_view text, char blank) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == blank ? ' ' : text[i];
    }
  }
  return out;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto end = text.find(at);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

http::request head_of(std::string method, const std::string& target, http::headers fields) {
  http::request r;
  r.method = std::move(method);
  r.target = target;
  r.path = target.substr(0, target.find('?'));
  r.host = "127.0.0.1";
  r.remote = "127.0.0.1:2";
  r.fields = std::move(fields);
  for (const auto segment : split(std::string_view(r.path).substr(1), '/'))
    r.segments.push_back(decoded(segment, '\0'));
  if (const auto question = target.find('?'); question != std::string::npos) {
    for (const auto pair : split(std::string_view(target).substr(question + 1), '&')) {
      const auto equals = pair.find('=');
      const auto value = equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
      r.query.emplace_back(decoded(pair.substr(0, equals), '+'), decoded(value, '+'));
    }
  }
  return r;
}

class text_source : public byte_source {
 public:
  explicit text_source(std::string text) : text_(std::move(text)) {}
  task<std::string> read() override { co_return std::exchange(text_, {}); }
  std::optional<std::uint64_t> size() const override { return text_.size(); }

 private:
  std::string text_;
};

class fake_exchange : public http::exchange {
 public:
  fake_exchange(http::request head, std::string body, asio::any_io_executor executor)
      : head_(std::move(head)), body_(std::move(body)), closed_(executor, std::chrono::hours(1)) {}

  const http::request& head() const noexcept override { return head_; }
  std::shared_ptr<byte_source> body() override { return std::make_shared<text_source>(std::move(body_)); }
  task<std::string> read_body(std::size_t limit) override {
    if (body_.size() > limit) co_return fail(errc::too_large, "body_too_large", "the body is too large", "Send less.");
    co_return std::move(body_);
  }
  task<void> respond(http::response r) override {
    ++answer.answers;
    answer.response = std::move(r);
    co_return result<void>{};
  }
  task<void> start(int status, http::headers fields) override {
    ++answer.answers;
    answer.response.status = status;
    answer.response.fields = std::move(fields);
    co_return result<void>{};
  }
  task<void> write(std::string piece) override {
    answer.response.body += piece;
    co_return result<void>{};
  }
  task<void> finish() override { co_return result<void>{}; }
  bool wants_websocket() const noexcept override { return false; }
  task<std::shared_ptr<byte_stream>> upgrade(http::headers) override {
    co_return fail(errc::unsupported, "no_upgrade", "the fake front passes no other protocol on");
  }
  task<std::shared_ptr<http::websocket>> accept_websocket(std::string, std::size_t) override {
    co_return fail(errc::unsupported, "no_websockets", "this front has no WebSockets", "Test with http::server.");
  }
  asio::awaitable<void> wait_closed() override { (void)co_await closed_.async_wait(use_tuple); }

  void end() { closed_.cancel(); }
  fake_front::answer answer;

 private:
  http::request head_;
  std::string body_;
  asio::steady_timer closed_;
};

}  // namespace

result<void> fake_front::route(std::string host_suffix, std::string path_prefix, http::handler h) {
  const std::lock_guard lock(mutex_);
  const std::string name = host_suffix + " " + path_prefix;
  if (!routes_.emplace(std::pair(std::move(host_suffix), std::move(path_prefix)), std::move(h)).second)
    return fail(errc::conflict, "route_taken", "the route " + name + " is taken", "Choose another path.");
  return {};
}

void fake_front::unroute(std::string_view host_suffix, std::string_view path_prefix) {
  const std::lock_guard lock(mutex_);
  routes_.erase(std::pair(std::string(host_suffix), std::string(path_prefix)));
}

bool fake_front::origin_allowed(std::string_view origin, std::string_view) const {
  return origin.empty() || origin == "http://127.0.0.1:1";
}

std::vector<std::string> fake_front::routes() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [where, handler] : routes_) out.push_back(where.first + " " + where.second);
  return out;
}

http::handler fake_front::choose(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  http::handler best;
  std::size_t longest = 0;
  for (const auto& [where, handler] : routes_) {
    const std::string& prefix = where.second;
    const bool fits =
        prefix == "/" || (path.rfind(prefix, 0) == 0 && (path.size() == prefix.size() || path[prefix.size()] == '/'));
    if (!fits || !where.first.empty() || prefix.size() < longest) continue;
    longest = prefix.size();
    best = handler;
  }
  return best;
}

asio::awaitable<fake_front::answer> fake_front::request(std::string method, std::string target, http::headers fields,
                                                        std::string body) {
  http::request head = head_of(std::move(method), target, std::move(fields));
  http::handler handler = choose(head.path);
  if (!handler) {
    answer none;
    none.answers = 1;
    none.response.status = 403;
    co_return none;
  }
  auto one = std::make_shared<fake_exchange>(std::move(head), std::move(body), co_await asio::this_coro::executor);
  try {
    co_await handler(one);
  } catch (const std::exception& e) {
    one->answer.exception = e.what();
  }
  one->end();
  co_return one->answer;
}

}  // namespace caged::testing
