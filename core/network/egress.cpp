#include "core/network/egress.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "core/network/box_network.hpp"

namespace caged::network {
namespace {

// A connection needs two descriptors; the server itself, its database, pipes and clients need some too.
std::size_t flows_of_this_process() {
  constexpr std::size_t reserve = 1024, least = 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return least;
  const auto descriptors = static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, 10'000'000));
  return std::max(least, (descriptors - std::min(descriptors, reserve)) / 2);
}

}  // namespace

egress::egress(parts p)
    : parts_(std::move(p)),
      names_(parts_.options.names),
      most_flows_(flows_of_this_process()),
      work_(parts_.executor, [this](std::string_view name, std::string_view what) {
        parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
      }) {}

egress::~egress() = default;

task<void> egress::open(std::string id, vmm_network& backend, rules r) {
  close(id);
  auto gate = co_await backend.open_gate(id);
  if (!gate) co_return gate.error();
  auto box = std::make_shared<box_network>(*this, id, std::move(r));
  if (auto started = box->start(std::move(*gate)); !started) {
    box->stop();
    work_.spawn("closing a gate", finish(box));
    co_return started.error();
  }
  boxes_[id] = std::move(box);
  co_return result<void>{};
}

void egress::change(const std::string& id, rules r) {
  if (const auto found = boxes_.find(id); found != boxes_.end()) found->second->change(std::move(r));
}

void egress::close(const std::string& id) {
  const auto found = boxes_.find(id);
  if (found == boxes_.end()) return;
  auto box = std::move(found->second);
  boxes_.erase(found);
  box->stop();
  work_.spawn("closing a gate", finish(std::move(box)));
}

asio::awaitable<void> egress::finish(std::shared_ptr<box_network> box) { co_await box->join(); }

bool egress::has_room(std::size_t own) const noexcept {
  if (own >= parts_.options.flows || open_flows_ >= most_flows_) return false;
  // One box alone gets nine tenths; the more there are, the less each may take of what is left.
  return own < 9 * (most_flows_ - open_flows_);
}

bool egress::serves_anything() const {
  return parts_.serves && (parts_.serves("llm.caged.internal") || parts_.serves("mcp.caged.internal"));
}

asio::awaitable<void> egress::stop() {
  std::vector<std::shared_ptr<box_network>> all;
  for (auto& [id, box] : boxes_) all.push_back(box);
  boxes_.clear();
  for (auto& box : all) box->stop();
  for (auto& box : all) co_await box->join();
  co_await work_.join();
}

json egress::status(const std::string& id) const {
  const auto found = boxes_.find(id);
  return found == boxes_.end() ? json(nullptr) : found->second->status();
}

std::string egress::inner_class(const ip_address& address, std::uint16_t port) {
  std::string found(class_of(address));
  if (found.empty() && own_.contains(address)) found = "own";
  if (found.empty()) return found;
  for (const auto& p : parts_.options.allow_inner)
    if (p.matches_address(address, port) || (port == 0 && p.covers_address(address))) return {};
  return found;
}

}  // namespace caged::network
