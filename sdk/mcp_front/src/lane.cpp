#include "lane.hpp"

namespace caged::mcp {

void lane::push(std::string text, outlet::kind what, int status) {
  if (ended) return;
  bytes += text.size();
  events.push_back({++last, std::move(text), what, status});
  while (events.size() > 1 && (events.size() > most_kept || bytes > most_bytes)) {
    bytes -= events.front().text.size();
    events.pop_front();
  }
  if (what == outlet::kind::answer) ended = true;
  signal.cancel();
}

void lane_outlet::send(std::string text, kind what, int http_status) {
  lane_->push(std::move(text), what, http_status);
}

void lane_outlet::hang_up() {
  // Only where the events have ids can anybody come back for the rest.
  if (!has_priming_event(lane_->spoken) || modern(lane_->spoken)) return;
  lane_->hung_up = true;
  lane_->signal.cancel();
}

std::shared_ptr<lane> http_session::new_lane(asio::any_io_executor on) {
  constexpr std::size_t most_lanes = 256, most_bytes = 8u << 20;
  const auto made = std::make_shared<lane>(on, std::to_string(++last_lane));
  made->spoken = talk->agreed();
  lanes[made->name] = made;
  order.push_back(made->name);
  // Those that are over are kept for who lost the connection, but not for ever.
  std::size_t kept = 0;
  for (const auto& [called, l] : lanes) kept += l->bytes;
  for (std::size_t looked = 0; (lanes.size() > most_lanes || kept > most_bytes) && looked < order.size();) {
    const auto it = lanes.find(order[looked]);
    if (it != lanes.end() && (!it->second->ended || it->second->occupied)) {
      ++looked;
      continue;
    }
    if (it != lanes.end()) {
      kept -= it->second->bytes;
      lanes.erase(it);
    }
    order.erase(order.begin() + static_cast<std::ptrdiff_t>(looked));
  }
  return made;
}

http::response refusal(int status, int code, const std::string& message, json data, const json& id) {
  json body{{"jsonrpc", "2.0"}, {"error", {{"code", code}, {"message", message}}}};
  if (!data.is_null()) body["error"]["data"] = std::move(data);
  if (!id.is_discarded()) body["id"] = id;
  http::response r;
  r.status = status;
  r.fields = {
      {"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
  r.body = dump(body);
  return r;
}

std::string header_of(const http::request& head, std::string_view name) { return std::string(head.field(name)); }

}  // namespace caged::mcp
