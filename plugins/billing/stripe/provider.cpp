#include "provider.hpp"

#include <sys/stat.h>

#include <boost/asio/post.hpp>
#include <caged/await_callback.hpp>
#include <caged/http_front.hpp>
#include <caged/random.hpp>
#include <ctime>
#include <fstream>

#include "webhook.hpp"

namespace caged::billing::stripe {
namespace {

constexpr const char* line_kind = "stripe_line";
constexpr const char* parcel_kind = "stripe_parcel";
constexpr const char* state_kind = "stripe_state";
constexpr const char* event_kind = "stripe_event";
constexpr const char* local = "local";
constexpr const char* webhook_path = "/v1/billing/stripe/webhook";
constexpr std::int64_t remembered_seconds = 24 * 3600;  // Stripe's idempotency keys

write put(const char* kind, std::string id, json body) {
  write w;
  w.kind = kind;
  w.id = std::move(id);
  w.body = std::move(body);
  return w;
}

// The first line of a file that nobody else may read.
result<std::string> read_secret(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0)
    return fail(errc::not_found, "secret_missing", "the file " + path + " is not there", "Put the secret into it, mode 0600.");
  if ((st.st_mode & 077) != 0)
    return fail(errc::permission_denied, "secret_readable", "the file " + path + " may be read by others", "chmod 600 " + path);
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  if (!line.empty()) return line;
  return fail(errc::invalid_argument, "secret_empty", "the file " + path + " is empty", "Put the secret into its first line.");
}

json null_or(const json& from, const char* key) { return from.contains(key) ? from[key] : json(nullptr); }

json time_or_null(const json& from, const char* key) {
  if (!from.contains(key) || !from[key].is_number_integer()) return nullptr;
  const std::time_t at = from[key].get<std::int64_t>();
  std::tm parts{};
  gmtime_r(&at, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// What of Stripe's subscription object is kept.
json kept_subscription(const json& s) {
  json out{{"id", s.value("id", "")},
           {"status", s.value("status", "")},
           {"cancel_at_period_end", s.value("cancel_at_period_end", false)},
           {"current_period_end", time_or_null(s, "current_period_end")},
           {"trial_ends_at", time_or_null(s, "trial_end")},
           {"price", nullptr}};
  if (s.contains("items") && s["items"].contains("data") && s["items"]["data"].is_array() && !s["items"]["data"].empty()) {
    const json& item = s["items"]["data"][0];
    if (item.contains("price") && item["price"].is_object()) out["price"] = item["price"].value("id", "");
    if (out["current_period_end"].is_null()) out["current_period_end"] = time_or_null(item, "current_period_end");
  }
  return out;
}

json with(const char* key, json value) {
  json j = json::object();
  j[key] = std::move(value);
  return j;
}

// Plain functions: gcc 12 cannot make these lists inside a coroutine.
form customer_form(const json& config) {
  form fields{{"metadata[caged_account]", local}};
  if (config.contains("email")) fields.emplace_back("email", config["email"].get<std::string>());
  return fields;
}

form meter_form(const json& config, const json& parcel, const std::string& customer) {
  return {{"event_name", config.value("meter", "caged_usage")},
          {"identifier", parcel.value("key", "")},
          {"timestamp", std::to_string(parcel.value("time", std::int64_t{0}))},
          {"payload[stripe_customer_id]", customer},
          {"payload[value]", std::to_string(parcel.value("amount_micro", std::int64_t{0}))}};
}

form checkout_form(const json& config, const std::string& price, const std::string& customer) {
  const std::string back = config.value("return_url", "");
  return {{"mode", "subscription"},         {"customer", customer}, {"line_items[0][price]", price},
          {"line_items[0][quantity]", "1"}, {"success_url", back},  {"cancel_url", back}};
}

form portal_form(const json& config, const std::string& customer) {
  return {{"customer", customer}, {"return_url", config.value("return_url", "")}};
}

form cancel_form() { return {{"cancel_at_period_end", "true"}}; }

json parcel_of(std::int64_t amount, json lines) {
  return {{"key", random_id("caged-", 32)}, {"amount_micro", amount}, {"time", std::time(nullptr)}, {"lines", std::move(lines)}};
}

json event_row(const std::string& type, std::int64_t created) { return {{"type", type}, {"created", created}}; }

json subscription_body(const json& state, const json& prices) {
  const json known = state.value("subscription", json::object());
  json tier = known.empty() ? json("none") : null_or(known, "price");
  for (const auto& [plan, price] : prices.items())
    if (!known.empty() && price == known["price"]) tier = plan;
  return {{"tier", tier},
          {"status", known.empty() ? json("none") : known["status"]},
          {"customer_id", null_or(state, "customer")},
          {"current_period_end", null_or(known, "current_period_end")},
          {"cancel_at_period_end", known.value("cancel_at_period_end", false)},
          {"trial_ends_at", null_or(known, "trial_ends_at")}};
}

}  // namespace

provider::provider(host& h, const json& config) : host_(h), config_(config) {}

void* provider::find_extension(std::string_view name) noexcept {
  return name == billing_subscriptions::interface_name ? static_cast<billing_subscriptions*>(this) : nullptr;
}

task<void> provider::open() {
  records_ = host_.service<storage>();
  front_ = host_.service<http::front>();
  auto key = read_secret(config_.value("key_file", ""));
  if (!key) co_return key.error();
  access_ = {config_.value("base_url", "https://api.stripe.com"), std::move(*key)};
  const bool local_base = access_.base_url.starts_with("http://127.0.0.1") || access_.base_url.starts_with("http://localhost");
  if (!access_.base_url.starts_with("https://") && !local_base)
    co_return fail(errc::invalid_argument, "stripe_in_clear", "base_url " + access_.base_url + " would carry the key in the clear",
                   "Use https.", "/base_url");
  const std::string file = config_.value("webhook_secret_file", "");
  if (file.empty()) co_return result<void>{};
  auto secret = read_secret(file);
  if (!secret) co_return secret.error();
  webhook_secret_ = std::move(*secret);
  co_return result<void>{};
}

task<void> provider::serve() {
  if (webhook_secret_.empty()) co_return result<void>{};
  auto routed = front_->route("", webhook_path, [this](std::shared_ptr<http::exchange> x) { return on_webhook(std::move(x)); });
  routed_ = static_cast<bool>(routed);
  co_return routed;
}

task<void> provider::drain() {
  if (std::exchange(routed_, false)) front_->unroute("", webhook_path);
  co_return result<void>{};
}

task<json> provider::call(std::string method, std::string path, form fields, std::string idempotency) {
  auto pool = host_.blocking_executor();
  std::function<void(callback<json>)> start = [pool, to = access_, method, path, fields, idempotency](callback<json> done) {
    asio::post(pool, [=]() mutable { done(call_api(to, method, path, fields, idempotency)); });
  };
  return await_callback<json>(std::move(start));
}

task<json> provider::state() {
  auto found = co_await records_->get(state_kind, local);
  if (!found) co_return found.error();
  if (*found) co_return (**found).body;
  co_return json::object();
}

task<void> provider::keep_state(json changed) {
  auto now = co_await state();
  if (!now) co_return now.error();
  now->update(changed);
  batch b;
  b.writes.push_back(put(state_kind, local, std::move(*now)));
  co_return co_await records_->commit(std::move(b));
}

// Made once: the key by which Stripe knows a repeated request is stored before the first.
task<std::string> provider::customer() {
  auto now = co_await state();
  if (!now) co_return now.error();
  if (now->contains("customer")) co_return (*now)["customer"].get<std::string>();
  if (!now->contains("customer_key")) {
    (*now)["customer_key"] = random_id("caged-customer-", 24);
    json key = with("customer_key", (*now)["customer_key"]);
    if (auto kept = co_await keep_state(std::move(key)); !kept) co_return kept.error();
  }
  form fields = customer_form(config_);
  auto made = co_await call("POST", "/v1/customers", std::move(fields), (*now)["customer_key"].get<std::string>());
  if (!made) co_return made.error();
  const std::string id = made->value("id", "");
  json known = with("customer", id);
  if (auto kept = co_await keep_state(std::move(known)); !kept) co_return kept.error();
  co_return id;
}

task<void> provider::report(std::vector<usage_line> lines) {
  // What an earlier life began to send comes first.
  if (auto sent = co_await send_parcel(); !sent) co_return sent.error();
  json contents = json::object();
  std::int64_t sum = 0;
  for (const auto& line : lines) {
    auto known = co_await records_->get(line_kind, line.id);
    if (!known) co_return known.error();
    const std::int64_t sent = *known ? (**known).body.value("sent_micro", std::int64_t{0}) : 0;
    if (line.amount_micro <= sent) continue;
    sum += line.amount_micro - sent;
    contents[line.id] = line.amount_micro;
  }
  if (sum == 0) co_return result<void>{};
  batch b;
  b.writes.push_back(put(parcel_kind, local, parcel_of(sum, std::move(contents))));
  b.writes.back().expect_version = 0;
  if (auto kept = co_await records_->commit(std::move(b)); !kept) co_return kept.error();
  co_return co_await send_parcel();
}

task<void> provider::send_parcel() {
  auto found = co_await records_->get(parcel_kind, local);
  if (!found) co_return found.error();
  if (!*found) co_return result<void>{};
  const json parcel = (**found).body;
  auto who = co_await customer();
  if (!who) co_return who.error();
  const auto time = parcel.value("time", std::int64_t{0});
  if (std::time(nullptr) - time > remembered_seconds)
    host_.log(log_level::warn, "usage that was packed more than a day ago is sent: if the answer to it was lost then, Stripe "
                               "bills it twice; see meter event " + parcel.value("key", ""));
  const std::string key = parcel.value("key", "");
  form fields = meter_form(config_, parcel, *who);
  auto sent = co_await call("POST", "/v1/billing/meter_events", std::move(fields), key);
  if (!sent) co_return sent.error();
  batch b;
  for (const auto& [id, amount] : parcel["lines"].items()) b.writes.push_back(put(line_kind, id, with("sent_micro", amount)));
  write gone;
  gone.what = write::op::erase;
  gone.kind = parcel_kind;
  gone.id = local;
  b.writes.push_back(std::move(gone));
  co_return co_await records_->commit(std::move(b));
}

task<json> provider::subscription() {
  auto now = co_await state();
  if (!now) co_return now.error();
  co_return subscription_body(*now, config_.value("prices", json::object()));
}

task<std::string> provider::checkout(std::string plan_id) {
  const json prices = config_.value("prices", json::object());
  if (!prices.contains(plan_id))
    co_return fail(errc::invalid_argument, "unknown_plan", "there is no plan \"" + plan_id + "\"",
                   "Use one of plugins.billing.stripe.prices.", "/plan_id");
  auto who = co_await customer();
  if (!who) co_return who.error();
  form fields = checkout_form(config_, prices[plan_id].get<std::string>(), *who);
  auto made = co_await call("POST", "/v1/checkout/sessions", std::move(fields), random_id("caged-checkout-", 24));
  if (!made) co_return made.error();
  const json url = null_or(*made, "url");
  if (url.is_string()) co_return url.get<std::string>();
  co_return fail(errc::unavailable, "stripe_unavailable", "Stripe made a checkout without a page", "Try again.");
}

task<std::string> provider::portal() {
  auto who = co_await customer();
  if (!who) co_return who.error();
  form fields = portal_form(config_, *who);
  auto made = co_await call("POST", "/v1/billing_portal/sessions", std::move(fields), "");
  if (!made) co_return made.error();
  co_return made->value("url", "");
}

task<void> provider::cancel() {
  auto now = co_await state();
  if (!now) co_return now.error();
  const std::string id = now->value("subscription", json::object()).value("id", "");
  if (id.empty())
    co_return fail(errc::conflict, "no_subscription", "there is no subscription", "Subscribe first: caged billing checkout PLAN.");
  form fields = cancel_form();
  auto done = co_await call("POST", "/v1/subscriptions/" + id, std::move(fields), "");
  if (!done) co_return done.error();
  json known = with("subscription", kept_subscription(*done));
  co_return co_await keep_state(std::move(known));
}

// Each event once; of a subscription the newest state by Stripe's own time, for webhooks come in any order.
task<void> provider::take_event(json event) {
  const std::string id = event.value("id", ""), type = event.value("type", "");
  if (id.empty() || id.size() > 200)
    co_return fail(errc::invalid_argument, "bad_event", "the event has no id", "Send Stripe's event object.");
  auto seen = co_await records_->get(event_kind, id);
  if (!seen) co_return seen.error();
  if (*seen) co_return result<void>{};
  const auto created = event.value("created", std::int64_t{0});
  batch b;
  b.writes.push_back(put(event_kind, id, event_row(type, created)));
  auto now = co_await state();
  if (!now) co_return now.error();
  const json object = event.value("data", json::object()).value("object", json::object());
  const bool ours = object.value("customer", json(nullptr)) == null_or(*now, "customer") && now->contains("customer");
  if (type.starts_with("customer.subscription.") && ours && created >= now->value("subscription_time", std::int64_t{0})) {
    (*now)["subscription"] = kept_subscription(object);
    (*now)["subscription_time"] = created;
    b.writes.push_back(put(state_kind, local, *now));
  }
  co_return co_await records_->commit(std::move(b));
}

asio::awaitable<void> provider::on_webhook(std::shared_ptr<http::exchange> x) {
  result<void> done;
  auto body = co_await x->read_body(256 * 1024);
  if (x->head().method != "POST" || x->head().path != webhook_path) {
    done = fail(errc::not_found, "no_such_route", "nothing answers here", "POST Stripe's events to " + std::string(webhook_path) + ".");
  } else if (!body) {
    done = body.error();
  } else {
    done = check_signature(x->head().field("stripe-signature"), *body, webhook_secret_, std::time(nullptr));
    json event = done ? json::parse(*body, nullptr, false) : json();
    if (done && !event.is_object()) done = fail(errc::invalid_argument, "bad_event", "the event is no JSON object", "Send Stripe's event object.");
    if (done) done = co_await take_event(std::move(event));
  }
  http::response answer;
  answer.body = "{\"received\":true}\n";
  answer.fields.emplace_back("content-type", "application/json");
  if (!done) answer = http::problem_response(done.error());
  (void)co_await x->respond(std::move(answer));
}

}  // namespace caged::billing::stripe
