// Who is told of changes: resources/subscribe of the handshake revisions, subscriptions/listen of the stateless one.
#include "request.hpp"

namespace caged::mcp {
namespace {

constexpr const char* subscription_key = "io.modelcontextprotocol/subscriptionId";

const char* list_notification(list_kind which) {
  if (which == list_kind::tools) return "notifications/tools/list_changed";
  if (which == list_kind::prompts) return "notifications/prompts/list_changed";
  return "notifications/resources/list_changed";
}

std::string notification_text(const std::string& method, const json& params) {
  json message{{"jsonrpc", "2.0"}, {"method", method}};
  if (!params.is_null()) message["params"] = params;
  return dump(message);
}

}  // namespace

void dialog::subscribe(request& r) {
  const std::string uri = text_member(r.params, "uri");
  if (uri.empty()) return error(r, error_code::invalid_params, "Invalid params: \"uri\" must be a string");
  if (subscribed_.size() >= max_subscriptions)
    return error(r, error_code::invalid_params, "Invalid params: too many subscriptions. Give some up first");
  if (subscribed_.insert(uri).second) in_.content->watch(uri);
  result(r, "{}");
}

void dialog::unsubscribe(request& r) {
  const std::string uri = text_member(r.params, "uri");
  if (uri.empty()) return error(r, error_code::invalid_params, "Invalid params: \"uri\" must be a string");
  if (subscribed_.erase(uri) != 0) in_.content->unwatch(uri);
  result(r, "{}");
}

void dialog::listen(request& r) {
  const json* wanted = member(r.params, "notifications");
  if (wanted == nullptr || !wanted->is_object())
    return error(r, error_code::invalid_params, "Invalid params: \"notifications\" must be an object");
  if (listeners_.size() + calls_.size() >= max_in_flight)
    return error(r, error_code::internal_error, "Too many requests are under way");
  const auto l = std::make_shared<listener>();
  l->id = r.id;
  l->to = r.to;
  json honoured = json::object();
  const int can = in_.content->abilities();
  const auto take = [&](const char* name, bool offered, bool& flag) {
    const json* asked = member(*wanted, name);
    flag = offered && asked != nullptr && *asked == true;
    if (flag) honoured[name] = true;
  };
  const bool tell = (can & changes) != 0 && in_.hearers;
  take("toolsListChanged", tell, l->tools);
  take("promptsListChanged", tell && (can & prompts) != 0, l->prompts);
  take("resourcesListChanged", tell && (can & resources_and_templates) != 0, l->resources);
  if (const json* uris = member(*wanted, "resourceSubscriptions");
      uris != nullptr && uris->is_array() && tell && (can & resources_and_templates) != 0) {
    for (const json& uri : *uris)
      if (uri.is_string() && l->uris.size() < max_subscriptions && l->uris.insert(uri.get<std::string>()).second)
        in_.content->watch(uri.get<std::string>());
    honoured["resourceSubscriptions"] = l->uris;
  }
  listeners_[r.id] = l;
  r.to->send(
      "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"notifications\":" +
          dump(honoured) + ",\"_meta\":{\"" + subscription_key + "\":" + r.id + "}}}",
      outlet::kind::notification, 200);
}

void dialog::stop_listening(listener& l) {
  for (const std::string& uri : std::exchange(l.uris, {})) in_.content->unwatch(uri);
}

void dialog::farewell() {
  const auto keep = shared_from_this();
  for (const auto& [id, l] : std::exchange(listeners_, {})) {
    stop_listening(*l);
    l->to->send("{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"result\":{\"resultType\":\"complete\",\"_meta\":{\"" +
                    subscription_key + "\":" + id + "}}}",
                outlet::kind::answer, 200);
  }
}

void dialog::notify(const std::string& method, const json& params) {
  if (agreed_ == revision::unset) return;
  if (const auto to = unsolicited_.lock()) to->send(notification_text(method, params), outlet::kind::notification, 200);
}

void dialog::changed(list_kind which) {
  lists_.clear();
  notify(list_notification(which), nullptr);
  for (const auto& [id, l] : std::map(listeners_)) {
    const bool wanted = which == list_kind::tools ? l->tools : which == list_kind::prompts ? l->prompts : l->resources;
    if (!wanted) continue;
    json meta;
    meta[subscription_key] = json::parse(id);
    l->to->send(notification_text(list_notification(which), {{"_meta", meta}}), outlet::kind::notification, 200);
  }
}

void dialog::resource_changed(const std::string& uri) {
  const std::string method = "notifications/resources/updated";
  if (subscribed_.count(uri) != 0) notify(method, {{"uri", uri}});
  for (const auto& [id, l] : std::map(listeners_)) {
    if (l->uris.count(uri) == 0) continue;
    json meta;
    meta[subscription_key] = json::parse(id);
    l->to->send(notification_text(method, {{"uri", uri}, {"_meta", meta}}), outlet::kind::notification, 200);
  }
}

void audience::add(std::weak_ptr<hearer> one) {
  std::erase_if(members_, [](const auto& m) { return m.expired(); });
  members_.push_back(std::move(one));
}

std::vector<std::shared_ptr<audience::hearer>> audience::present() {
  std::vector<std::shared_ptr<hearer>> all;
  for (const auto& weak : members_)
    if (auto one = weak.lock()) all.push_back(std::move(one));
  return all;
}

void audience::tell_changed(list_kind which) {
  for (const auto& one : present()) one->changed(which);
}

void audience::tell_resource_changed(const std::string& uri) {
  for (const auto& one : present()) one->resource_changed(uri);
}

}  // namespace caged::mcp
