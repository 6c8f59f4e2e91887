// What one caller sees of the platform through MCP: operations as tools, files and journals as resources, prompts, and
// what plugins have added.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <caged/host.hpp>
#include <caged/operation.hpp>
#include <map>
#include <memory>
#include <string>

#include "catalogue.hpp"
#include "crew.hpp"

namespace caged::transport_mcp {

using mcp::tool_call;
using call_ptr = std::shared_ptr<tool_call>;

// What the callers' views share.
struct platform {
  host& h;
  operations& ops;
  asio::any_io_executor executor;
  std::shared_ptr<crew> workers;
  std::shared_ptr<mcp::audience> hearers;  // of what concerns everybody
  std::shared_ptr<additions> added;
  bool closing = false;
};
using platform_ptr = std::shared_ptr<platform>;

// A resource that somebody wants to hear about.
struct watched {
  int readers = 0;
  std::optional<std::string> mark;  // what it was when last looked at
};

class view : public mcp::toolbox, public std::enable_shared_from_this<view> {
 public:
  // `sandbox_id` not empty: the view of that one sandbox.
  view(platform_ptr shared, caller who, std::string sandbox_id);

  // Hears what concerns everybody, and of resources what this caller may see: the same address is another file in
  // another sandbox.
  const std::shared_ptr<mcp::audience>& hearers() const noexcept { return hearers_; }

  int abilities() const override;
  const json& list(mcp::list_kind which) const override;
  bool lists_later(mcp::list_kind which) const override { return which == mcp::list_kind::resources; }
  void start(const call_ptr& c) override;
  void watch(const std::string& uri) override;
  void unwatch(const std::string& uri) override;

  const caller& who() const noexcept { return who_; }
  const std::string& sandbox() const noexcept { return sandbox_; }
  platform& shared() const noexcept { return *shared_; }
  bool sees(scope needs) const noexcept { return who_.granted >= needs; }

  // One operation on behalf of this caller.
  task<reply> invoke(std::string operation, json arguments, std::shared_ptr<byte_source> body = nullptr) const;

 private:
  static asio::awaitable<void> run(std::shared_ptr<view> self, call_ptr c);
  static asio::awaitable<void> keep_looking(std::shared_ptr<view> self);

  platform_ptr shared_;
  caller who_;
  std::string sandbox_;
  std::shared_ptr<mcp::audience> hearers_ = std::make_shared<mcp::audience>();
  std::shared_ptr<mcp::audience::hearer> relay_;  // from everybody's audience to ours
  std::map<std::string, watched> watched_;        // by address
  bool looking_ = false;
  mutable std::map<mcp::list_kind, json> lists_;
  mutable std::uint64_t generation_ = 0;  // of the additions that the lists have
};
using view_ptr = std::shared_ptr<view>;

// operation_tools.cpp
json operation_tools(const view& v);
task<void> run_operation_tool(view_ptr v, call_ptr c);
void fail_call(const call_ptr& c, const error& e);
// exec_tool.cpp: sandbox_exec, with progress, and killed when it is cancelled.
task<void> run_exec_tool(view_ptr v, call_ptr c, json arguments);
// items_tool.cpp: operations that give a live stream, as tools that answer with what there is by now.
bool reads_items(std::string_view operation);
json items_tool_declaration(const std::string& operation, json declared);
task<void> run_items_tool(view_ptr v, call_ptr c, std::string operation, json arguments);
// resources.cpp
json platform_templates(const view& v);
task<json> platform_resources(view_ptr v, json params);
task<json> read_platform_resource(view_ptr v, std::string uri);
// What changes when the resource does; empty when there is no such resource. An error when it cannot be told now.
task<std::string> resource_mark(view_ptr v, std::string uri);
// prompts.cpp
json platform_prompts(const view& v);
result<json> platform_prompt(const view& v, const std::string& name, const json& arguments);
task<json> complete_argument(view_ptr v, json params);

}  // namespace caged::transport_mcp
