// The egress plane among the host's parts: its configuration, the policies it asks, the services it hands over to.
#include "core/app/server.hpp"
#include "core/base/log.hpp"
#include "core/network/settings.hpp"

namespace caged::app {
namespace {

// One question to the policies for each connection that the sandbox's own rules let through.
task<network::verdict> ask_policies(judgement::judge* judge, std::string sandbox_id, json question) {
  if (judge == nullptr) co_return network::deny("policy_failed", "the policies are not there yet", "Try again.");
  event e;
  e.type = "network.connect";
  e.sandbox_id = std::move(sandbox_id);
  e.data = std::move(question);
  const auto said = co_await judge->ask(std::move(e));
  if (said.allowed()) co_return network::allow("policy");
  co_return network::deny(said.rule.empty() ? said.policy : said.rule, said.reason, said.advice);
}

}  // namespace

result<void> server::open_network() {
  auto options = network::make_settings(config_, config::process_environment());
  if (!options) return options.error();
  network::egress::parts parts;
  parts.executor = loop_.executor();
  parts.options = std::move(*options);
  parts.publish = [this](event e) { sink_.publish(std::move(e)); };
  parts.policy = [this](std::string sandbox_id, json question) {
    return ask_policies(judge_.get(), std::move(sandbox_id), std::move(question));
  };
  parts.serves = [this](std::string_view host) { return http_->serves(host); };
  parts.hand_over = [this](asio::ip::tcp::socket connection, std::string already_read, std::string sandbox_id) {
    http_->adopt(std::move(connection), std::move(already_read), std::move(sandbox_id));
  };
  parts.log = [](log_level level, std::string message) { base::log(level, "network", message); };
  network_ = std::make_unique<network::egress>(std::move(parts));
  return {};
}

}  // namespace caged::app
