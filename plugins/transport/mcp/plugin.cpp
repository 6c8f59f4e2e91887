// The platform's MCP: /mcp, /mcp/ws and /v1/sandboxes/{id}/mcp.
#include <caged/define_plugin.hpp>
#include <caged/mcp_front/front_service.hpp>
#include <caged/mcp_front/seal.hpp>

#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

constexpr const char* instructions =
    "Sandboxes for agents: make one with sandbox_create, run commands in it with sandbox_exec, read and write its "
    "files, snapshot, fork and destroy it. "
    "Everything runs inside a sandbox, nothing on the host. Long output comes cut in the middle; narrow the command "
    "for more.";

struct world {
  platform_ptr shared;
  std::shared_ptr<mcp::task_store> tasks = std::make_shared<mcp::task_store>();
  std::shared_ptr<mcp::hmac_sealer> seals = std::make_shared<mcp::hmac_sealer>();
};

// Who asks and what of: the caller's view of the platform, or of the one sandbox that the path names.
task<mcp::surroundings> admit(std::shared_ptr<world> w, std::string credential, http::request head) {
  operations& ops = w->shared->ops;
  std::string ticket;
  for (const auto& [name, value] : head.query)
    if (name == "ticket") ticket = value;
  const bool socket = !head.field("sec-websocket-key").empty();
  caller who;
  if (credential.empty() && !ticket.empty() && socket) {
    auto redeemed = co_await ops.redeem_ticket(ticket);
    if (redeemed.has_error()) co_return redeemed.error();
    who = std::move(*redeemed);
  } else {
    if (credential.empty())
      co_return fail(errc::unauthenticated, "no_credential", "the request has no key",
                     "Send \"Authorization: Bearer caged_sk_…\"");
    auto known = co_await ops.authenticate(credential);
    if (known.has_error()) co_return known.error();
    who = std::move(*known);
  }
  std::string sandbox = who.sandbox_id;
  if (head.segments.size() == 4 && head.segments[1] == "sandboxes") {
    sandbox = head.segments[2];
    if (!who.sandbox_id.empty() && who.sandbox_id != sandbox)
      co_return fail(errc::permission_denied, "other_sandbox", "this key is for another sandbox",
                     "Use the key of this one.");
    call look;
    look.operation = "sandbox.get";
    look.arguments["id"] = sandbox;
    look.who = who;
    look.transport = "mcp";
    auto found = co_await ops.invoke(std::move(look));
    if (found.has_error()) co_return found.error();
    sandbox = found->body.value("id", sandbox);
  } else if (head.segments.size() > (head.path.starts_with("/mcp/ws") ? 2u : 1u)) {
    co_return fail(errc::not_found, "no_such_route", "there is no route " + head.path, "The endpoint is /mcp.");
  }
  mcp::surroundings in;
  in.principal = who.key_id + "\n" + sandbox;
  const auto content = std::make_shared<view>(w->shared, std::move(who), std::move(sandbox));
  in.content = content;
  in.who = {"caged", "Caged", CAGED_SDK_VERSION, instructions};
  in.hearers = content->hearers();
  in.tasks = w->tasks;
  in.seals = w->seals;
  co_return in;
}

class mcp_transport final : public transport {
 public:
  mcp_transport(host& h, const json& config)
      : host_(h), hearers_(std::make_shared<mcp::audience>()), added_(std::make_shared<additions>(hearers_)) {
    options_.message_bytes = config.value("message_bytes", options_.message_bytes);
    options_.sessions = config.value("sessions", options_.sessions);
    options_.session_idle = std::chrono::seconds(config.value("session_idle_seconds", 3600));
    options_.keep_alive = std::chrono::milliseconds(static_cast<int>(1000 * config.value("keep_alive_seconds", 15.0)));
  }

  void* find_extension(std::string_view name) noexcept override {
    return name == mcp::catalogue::interface_name ? static_cast<mcp::catalogue*>(added_.get()) : nullptr;
  }

  task<void> open() override {
    auto* ops = host_.service<operations>();
    front_ = host_.service<http::front>();
    if (ops == nullptr || front_ == nullptr)
      co_return fail(errc::unavailable, "service_missing", "the host has no operations or no HTTP front",
                     "Load the MCP transport in `caged serve`.");
    world_ = std::make_shared<world>();
    auto workers = std::make_shared<crew>(host_.executor());
    world_->shared =
        std::make_shared<platform>(platform{host_, *ops, host_.executor(), workers, hearers_, added_, false});
    auto w = world_;
    service_ = std::make_shared<mcp::front_service>(
        host_.executor(), *front_, options_,
        [w](std::string credential, http::request head) { return admit(w, std::move(credential), std::move(head)); });
    co_return result<void>{};
  }

  task<void> serve() override {
    for (const char* path : {"/mcp", "/v1/sandboxes/*/mcp"}) {
      auto routed = front_->route("", path, [self = service_](std::shared_ptr<http::exchange> exchange) {
        return mcp::front_service::handle(self, std::move(exchange));
      });
      if (routed.has_error()) co_return routed;
      routes_.emplace_back(path);
    }
    co_return result<void>{};
  }

  task<void> drain() override {
    end();
    if (world_) co_await crew::join(world_->shared->workers);
    co_return result<void>{};
  }

  task<void> close() override {
    for (const std::string& path : std::exchange(routes_, {})) front_->unroute("", path);
    end();
    if (world_) co_await crew::join(world_->shared->workers);
    service_.reset();
    world_.reset();
    co_return result<void>{};
  }

 private:
  void end() {
    if (!world_) return;
    world_->shared->closing = true;
    if (service_) service_->close();
    world_->tasks->close();
  }

  host& host_;
  mcp::front_options options_;
  std::shared_ptr<mcp::audience> hearers_;
  std::shared_ptr<additions> added_;
  http::front* front_ = nullptr;
  std::shared_ptr<world> world_;
  std::shared_ptr<mcp::front_service> service_;
  std::vector<std::string> routes_;
};

}  // namespace
}  // namespace caged::transport_mcp

CAGED_PLUGIN(caged::transport_mcp::mcp_transport,
             .summary = "The Model Context Protocol at /mcp: Streamable HTTP and WebSocket",
             .offers = CAGED_OFFERS_ROUTES, .needs = CAGED_NEEDS_OPERATIONS | CAGED_NEEDS_HTTP_FRONT)
