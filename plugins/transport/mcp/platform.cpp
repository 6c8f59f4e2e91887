#include "platform.hpp"

#include <boost/asio/post.hpp>

namespace caged::transport_mcp {
namespace {

constexpr auto look_again = std::chrono::seconds(1);

json own_list(const view& v, mcp::list_kind which) {
  if (which == mcp::list_kind::tools) return operation_tools(v);
  if (which == mcp::list_kind::templates) return platform_templates(v);
  if (which == mcp::list_kind::prompts) return platform_prompts(v);
  return json::array();
}

mcp::kind kind_of(mcp::list_kind which) {
  switch (which) {
    case mcp::list_kind::tools:
      return mcp::kind::tool;
    case mcp::list_kind::resources:
      return mcp::kind::resource;
    case mcp::list_kind::templates:
      return mcp::kind::resource_template;
    case mcp::list_kind::prompts:
      return mcp::kind::prompt;
    case mcp::list_kind::unset:
      break;
  }
  return mcp::kind::unset;
}

// Looks at a resource every second and tells when it is another.
asio::awaitable<void> keep_looking(platform_ptr shared, view_ptr v, std::string uri) {
  asio::steady_timer pause(shared->executor);
  std::string before;
  bool first = true;
  while (!shared->closing && shared->watched.contains(uri)) {
    auto mark = co_await resource_mark(v, uri);
    const std::string now = mark.has_value() ? *mark : std::string();
    if (!first && now != before) shared->hearers->tell_resource_changed(uri);
    before = now;
    first = false;
    pause.expires_after(look_again);
    co_await pause.async_wait(use_tuple);
  }
}

}  // namespace

view::view(platform_ptr shared, caller who, std::string sandbox_id)
    : shared_(std::move(shared)), who_(std::move(who)), sandbox_(std::move(sandbox_id)) {}

int view::abilities() const {
  return mcp::resources_and_templates | mcp::prompts | mcp::completions | mcp::logging | mcp::changes | mcp::long_tasks;
}

const json& view::list(mcp::list_kind which) const {
  if (generation_ != shared_->added->generation()) lists_.clear();
  generation_ = shared_->added->generation();
  json& rows = lists_[which];
  if (!rows.is_null()) return rows;
  rows = own_list(*this, which);
  for (const auto& e : shared_->added->all())
    if (e.what == kind_of(which) && sees(e.needs)) rows.push_back(e.declaration);
  return rows;
}

task<reply> view::invoke(std::string operation, json arguments, std::shared_ptr<byte_source> body) const {
  call c;
  c.operation = std::move(operation);
  c.arguments = std::move(arguments);
  c.who = who_;
  c.transport = "mcp";
  c.body = std::move(body);
  if (c.body) c.media_type = "application/octet-stream";
  return shared_->ops.invoke(std::move(c));
}

void view::start(const call_ptr& c) { shared_->workers->run(run(shared_from_this(), c)); }

asio::awaitable<void> view::run(std::shared_ptr<view> self, call_ptr c) {
  auto& added = *self->shared_->added;
  const std::string method = c->method();
  json values;
  const additions::entry* extra = nullptr;
  if (method == "tools/call") extra = added.find(mcp::kind::tool, c->tool(), self->who_.granted);
  if (method == "prompts/get") extra = added.find(mcp::kind::prompt, c->tool(), self->who_.granted);
  if (method == "resources/read") extra = added.find(mcp::kind::resource, c->tool(), self->who_.granted);
  if (method == "resources/read" && extra == nullptr)
    extra = added.find_template(c->tool(), self->who_.granted, values);
  if (extra != nullptr) {
    mcp::handler handler = extra->run;
    caller who = self->who_;
    co_await run_addition(std::move(handler), c, std::move(who), std::move(values));
    co_return;
  }
  error problem;
  bool failed = false;
  std::string bug;
  try {
    if (method == "tools/call") {
      auto done = co_await run_operation_tool(self, c);
      if ((failed = done.has_error())) problem = done.error();
    } else if (method == "prompts/get") {
      auto made = platform_prompt(*self, c->tool(), c->arguments());
      if ((failed = made.has_error()))
        problem = made.error();
      else
        c->answer_document(std::move(*made));
    } else if (method == "resources/list") {
      auto rows = co_await platform_resources(self);
      if ((failed = rows.has_error())) {
        problem = rows.error();
      } else {
        for (const json& row : self->list(mcp::list_kind::resources)) rows->push_back(row);
        json body = json::object();
        body["resources"] = std::move(*rows);
        c->answer_document(std::move(body));
      }
    } else if (method == "resources/read") {
      auto read = co_await read_platform_resource(self, c->tool());
      if (read.has_value())
        c->answer_document(std::move(*read));
      else if (read.error().code == errc::not_found || read.error().code == errc::invalid_argument)
        c->refuse_unknown_resource(c->tool());
      else
        c->refuse(-32603, describe(read.error()));
    } else {
      auto done = co_await complete_argument(self, c->params());
      if ((failed = done.has_error()))
        problem = done.error();
      else
        c->answer_document(std::move(*done));
    }
  } catch (const std::exception& e) {
    bug = e.what();
  }
  if (!bug.empty()) c->fail("internal error: " + bug);
  if (failed) fail_call(c, problem);
}

void view::watch(const std::string& uri) {
  if (shared_->watched[uri]++ > 0 || shared_->added->find(mcp::kind::resource, uri, who_.granted) != nullptr) return;
  shared_->workers->run(keep_looking(shared_, shared_from_this(), uri));
}

void view::unwatch(const std::string& uri) {
  const auto it = shared_->watched.find(uri);
  if (it != shared_->watched.end() && --it->second <= 0) shared_->watched.erase(it);
}

}  // namespace caged::transport_mcp
