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

class relay : public mcp::audience::hearer {
 public:
  explicit relay(std::shared_ptr<mcp::audience> to) : to_(std::move(to)) {}
  void changed(mcp::list_kind which) override { to_->tell_changed(which); }
  void resource_changed(const std::string& uri) override { to_->tell_resource_changed(uri); }

 private:
  std::shared_ptr<mcp::audience> to_;
};

}  // namespace

view::view(platform_ptr shared, caller who, std::string sandbox_id)
    : shared_(std::move(shared)),
      who_(std::move(who)),
      sandbox_(std::move(sandbox_id)),
      relay_(std::make_shared<relay>(hearers_)) {
  shared_->hearers->add(relay_);
}

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
      auto page = co_await platform_resources(self, c->params());
      if (page.has_value())
        c->answer_document(std::move(*page));
      else if (page.error().reason == "unknown_cursor")
        c->refuse(-32602, "Invalid params: " + describe(page.error()));
      else
        c->refuse(-32603, describe(page.error()));
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
  if (watched_[uri].readers++ > 0 || looking_) return;
  looking_ = true;
  shared_->workers->run(keep_looking(shared_from_this()));
}

void view::unwatch(const std::string& uri) {
  const auto it = watched_.find(uri);
  if (it != watched_.end() && --it->second.readers <= 0) watched_.erase(it);
}

// Looks at what is watched every second and tells when it is another than it was.
asio::awaitable<void> view::keep_looking(std::shared_ptr<view> self) {
  asio::steady_timer pause(self->shared_->executor);
  while (!self->shared_->closing && !self->watched_.empty()) {
    std::vector<std::string> addresses;
    for (const auto& [uri, w] : self->watched_) addresses.push_back(uri);
    for (const std::string& uri : addresses) {
      // What a plugin added, it tells about itself.
      if (self->shared_->added->find(mcp::kind::resource, uri, self->who_.granted) != nullptr) continue;
      auto mark = co_await resource_mark(self, uri);
      const auto it = self->watched_.find(uri);
      if (mark.has_error() || it == self->watched_.end()) continue;
      const bool other = it->second.mark && *it->second.mark != *mark;
      it->second.mark = std::move(*mark);
      if (other) self->hearers_->tell_resource_changed(uri);
    }
    pause.expires_after(look_again);
    co_await pause.async_wait(use_tuple);
  }
  self->looking_ = false;
}

}  // namespace caged::transport_mcp
