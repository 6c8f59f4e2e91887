// Answers that are complete in themselves: documents, errors and bytes.
#include "service.hpp"
#include "text.hpp"

namespace caged::rest {

int service::status_of(const error& e) const {
  if (e.reason == "unsupported_media_type") return 415;
  if (e.reason == "body_stalled") return 408;
  return http_status(e.code);
}

task<void> service::send(context_ptr c, http::response r) {
  for (const auto& field : c->extra) r.fields.push_back(field);
  const int status = r.status;
  auto sent = co_await c->exchange->respond(std::move(r));
  if (sent.has_value()) c->status = status;
  co_return sent;
}

task<void> service::send_error(context_ptr c, error e, int status) {
  if (status == 0) status = status_of(e);
  if (status == 401) c->extra.emplace_back("WWW-Authenticate", "Bearer realm=\"caged\"");
  if (status == 503 || status == 429) c->extra.emplace_back("Retry-After", status == 429 ? "60" : "1");
  if (e.code == errc::internal) log_(log_level::error, c->id + " " + c->route + ": " + describe(e));
  auto r = http::problem_response(e, status);
  co_return co_await send(c, std::move(r));
}

task<void> service::send_document(context_ptr c, reply r) {
  http::response out;
  out.status = r.status != 0 ? r.status : c->operation->success;
  out.fields = std::move(r.headers);
  if (out.status != 204) {
    out.fields.emplace_back("Content-Type", "application/json");
    out.fields.emplace_back("Cache-Control", "no-store");
    out.body = to_text(r.body);
  }
  co_return co_await send(c, std::move(out));
}

namespace {

// Leaves out the first bytes and ends early: a Range for operations that know of none.
class slice final : public byte_source {
 public:
  slice(std::shared_ptr<byte_source> from, std::uint64_t skip, std::uint64_t length)
      : from_(std::move(from)), skip_(skip), left_(length), length_(length) {}
  std::optional<std::uint64_t> size() const override { return length_; }
  task<std::string> read() override {
    while (left_ > 0) {
      auto piece = co_await from_->read();
      if (piece.has_error() || piece->empty()) co_return piece;
      if (skip_ >= piece->size()) {
        skip_ -= piece->size();
        continue;
      }
      piece->erase(0, static_cast<std::size_t>(skip_));
      skip_ = 0;
      if (piece->size() > left_) piece->resize(static_cast<std::size_t>(left_));
      left_ -= piece->size();
      co_return piece;
    }
    co_return std::string();
  }

 private:
  std::shared_ptr<byte_source> from_;
  std::uint64_t skip_, left_;
  const std::uint64_t length_;
};

// Applies a Range header to an answer of known length. The status of the answer; 416 has no bytes.
int apply_range(reply& r, std::string_view header) {
  const auto range = parse_range(header);
  const auto size = r.bytes->size();
  if (!range || !size) return 200;
  std::uint64_t first = range->first.value_or(0), last = *size == 0 ? 0 : *size - 1;
  if (!range->first)
    first = *range->last >= *size ? 0 : *size - *range->last;
  else if (range->last)
    last = std::min(last, *range->last);
  if (first >= *size || (!range->first && *range->last == 0)) {
    r.headers.emplace_back("Content-Range", "bytes */" + std::to_string(*size));
    return 416;
  }
  r.headers.emplace_back("Content-Range",
                         "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(*size));
  r.bytes = std::make_shared<slice>(std::move(r.bytes), first, last - first + 1);
  return 206;
}

}  // namespace

task<void> service::send_bytes(context_ptr c, reply r) {
  const auto& head = c->exchange->head();
  int status = r.status != 0 ? r.status : c->operation->success;
  const auto range = head.field("range");
  // An operation with a property "range" has done it itself.
  if (status == 200 && !range.empty() && !c->operation->input.value("properties", json::object()).contains("range"))
    status = apply_range(r, range);
  if (status == 416) {
    for (auto& field : r.headers) c->extra.push_back(std::move(field));
    const error e =
        fail(errc::invalid_argument, "range_not_satisfiable", "the range lies outside the content", "Ask for less.");
    co_return co_await send_error(c, e, 416);
  }
  // The first piece before the head: a source that cannot even begin is still an ordinary error.
  const auto size = r.bytes->size();
  auto piece = co_await r.bytes->read();
  if (piece.has_error()) co_return piece.error();
  http::headers fields = std::move(r.headers);
  fields.emplace_back("Content-Type", r.media_type.empty() ? "application/octet-stream" : r.media_type);
  // Content comes out of sandboxes: a browser that shows it must not run it in our origin.
  fields.emplace_back("Content-Security-Policy", "sandbox; default-src 'none'");
  for (const auto& field : c->extra) fields.push_back(field);
  if (size)
    fields.emplace_back("Content-Length", std::to_string(*size));
  else if (piece->empty())
    fields.emplace_back("Content-Length", "0");
  if (status == 204 || status == 304) piece = std::string();
  auto sent = co_await c->exchange->start(status, std::move(fields));
  if (sent.has_error()) co_return sent;
  c->status = status;
  if (head.method == "HEAD") co_return co_await c->exchange->finish();
  while (!piece->empty()) {
    std::string data = std::move(*piece);
    sent = co_await c->exchange->write(std::move(data));
    if (sent.has_error()) co_return sent;
    piece = co_await r.bytes->read();
    if (piece.has_error()) {
      // The head is out; an unfinished answer is how the client learns that this is not all.
      log_(log_level::warn, c->id + " " + c->route + " broke off: " + describe(piece.error()));
      co_return piece.error();
    }
  }
  co_return co_await c->exchange->finish();
}

}  // namespace caged::rest
