// What plugins have added to MCP.
#pragma once

#include <caged/mcp.hpp>
#include <caged/mcp/dialog.hpp>
#include <list>
#include <map>
#include <optional>

#include "crew.hpp"

namespace caged::transport_mcp {

// On the host's loop thread.
class additions : public mcp::catalogue {
 public:
  struct entry {
    mcp::kind what;
    std::string name;  // or address, or template
    json declaration;
    scope needs;
    mcp::handler run;
  };

  explicit additions(std::shared_ptr<mcp::audience> hearers) : hearers_(std::move(hearers)) {}

  result<void> add(mcp::kind what, json declaration, scope needs, mcp::handler run) override;
  result<void> add_completion(std::string reference, mcp::handler run) override;
  void remove(mcp::kind what, std::string_view name) override;
  void list_changed(mcp::kind what) override;
  void resource_changed(const std::string& uri) override { hearers_->tell_resource_changed(uri); }

  const std::list<entry>& all() const noexcept { return entries_; }
  const entry* find(mcp::kind what, std::string_view name, scope granted) const;
  // The template that makes this address, and the values of its parts.
  const entry* find_template(std::string_view uri, scope granted, json& values) const;
  const mcp::handler* completion(const std::string& reference) const;
  std::uint64_t generation() const noexcept { return generation_; }

 private:
  std::shared_ptr<mcp::audience> hearers_;
  std::list<entry> entries_;
  std::map<std::string, mcp::handler> completions_;
  std::uint64_t generation_ = 1;
};

// Nothing when a percent sign is not followed by two hexadecimal digits, or there is a NUL.
std::optional<std::string> percent_decoded(std::string_view text);

// Runs what a plugin added, to its answer.
asio::awaitable<void> run_addition(mcp::handler run, std::shared_ptr<mcp::tool_call> call, caller who, json values);

}  // namespace caged::transport_mcp
