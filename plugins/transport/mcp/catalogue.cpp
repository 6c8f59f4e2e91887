#include "catalogue.hpp"

#include <caged/await_callback.hpp>

#include <algorithm>

namespace caged::transport_mcp {
namespace {

const char* key_of(mcp::kind what) {
  switch (what) {
    case mcp::kind::resource:
      return "uri";
    case mcp::kind::resource_template:
      return "uriTemplate";
    default:
      return "name";
  }
}

mcp::list_kind list_of(mcp::kind what) {
  switch (what) {
    case mcp::kind::tool:
      return mcp::list_kind::tools;
    case mcp::kind::resource:
      return mcp::list_kind::resources;
    case mcp::kind::resource_template:
      return mcp::list_kind::templates;
    case mcp::kind::prompt:
      return mcp::list_kind::prompts;
    case mcp::kind::unset:
      break;
  }
  return mcp::list_kind::unset;
}

bool tool_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string::npos;
}

class call_context : public mcp::context {
 public:
  call_context(std::shared_ptr<mcp::tool_call> call, caller who, json values)
      : call_(std::move(call)), who_(std::move(who)), values_(std::move(values)) {}
  const json& arguments() const override { return values_.is_null() ? call_->arguments() : values_; }
  const json& params() const override { return call_->params(); }
  const std::string& name() const override { return call_->tool(); }
  const caller& who() const override { return who_; }
  bool client_can(std::string_view capability) const override { return call_->client_can(capability); }
  bool cancelled() const override { return call_->cancelled(); }
  void progress(double value, std::optional<double> total, std::string message) override {
    call_->progress(value, total, message);
  }
  void log(std::string_view level, json data) override { call_->log(mcp::severity_of(level), data); }
  task<json> ask(json requests) override {
    auto call = call_;
    auto start = [call, requests = std::move(requests)](callback<json> done) {
      call->ask(requests, [done = std::move(done)](std::optional<json> answers) {
        if (answers)
          done(std::move(*answers));
        else
          done(fail(errc::cancelled, "call_ended", "the call has ended before the client answered", ""));
      });
    };
    co_return co_await await_callback<json>(std::move(start));
  }
  result<bool> become_task(need n) override {
    const bool followed = call_->become_task(n == need::required ? mcp::task_need::required : mcp::task_need::optional);
    if (!followed && n == need::required)
      return fail(errc::unsupported, "no_tasks", "this tool runs as a task only",
                  "Use a client that can follow tasks.");
    return followed;
  }
  void hang_up() override { call_->hang_up(); }
  void refuse(int code, std::string message, json data) override {
    call_->refuse(code, std::move(message), std::move(data));
  }

 private:
  std::shared_ptr<mcp::tool_call> call_;
  caller who_;
  json values_;
};

task<json> guarded(mcp::handler run, std::shared_ptr<mcp::context> c) {
  std::string what;
  try {
    co_return co_await run(std::move(c));
  } catch (const std::exception& e) {
    what = e.what();
  }
  co_return fail(errc::internal, "handler_failed", "this failed because of a bug: " + what, "Report it.");
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const auto digit = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                    : -1;
    };
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return std::nullopt;
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  if (out.find('\0') != std::string::npos) return std::nullopt;
  return out;
}

result<void> additions::add(mcp::kind what, json declaration, scope needs, mcp::handler run) {
  const char* key = key_of(what);
  const std::string name = declaration.is_object() && declaration.contains(key) && declaration[key].is_string()
                               ? declaration[key].get<std::string>()
                               : "";
  if (what == mcp::kind::unset || name.empty() || !run)
    return fail(errc::invalid_argument, "bad_declaration",
                std::string("the declaration has no \"") + key + "\" or there is no handler", "See caged/mcp.hpp.");
  if (what == mcp::kind::tool) {
    if (!tool_name(name))
      return fail(errc::invalid_argument, "bad_tool_name", "\"" + name + "\" is no name of a tool",
                  "Use 1 to 64 letters, digits, '_', '-' and '.'.");
    if (!declaration.contains("inputSchema")) declaration["inputSchema"] = {{"type", "object"}};
    if (declaration["inputSchema"].value("type", "") != "object")
      return fail(errc::invalid_argument, "bad_schema", "the input schema of " + name + " is not of type object",
                  "Tools take objects.");
  }
  for (const entry& e : entries_)
    if (e.what == what && e.name == name)
      return fail(errc::conflict, "name_taken", "\"" + name + "\" exists already", "Choose another name.");
  entries_.push_back({what, name, std::move(declaration), needs, std::move(run)});
  list_changed(what);
  return {};
}

result<void> additions::add_completion(std::string reference, mcp::handler run) {
  completions_[std::move(reference)] = std::move(run);
  return {};
}

void additions::remove(mcp::kind what, std::string_view name) {
  entries_.remove_if([&](const entry& e) { return e.what == what && e.name == name; });
  list_changed(what);
}

void additions::list_changed(mcp::kind what) {
  ++generation_;
  hearers_->tell_changed(list_of(what));
}

const additions::entry* additions::find(mcp::kind what, std::string_view name, scope granted) const {
  for (const entry& e : entries_)
    if (e.what == what && e.name == name && granted >= e.needs) return &e;
  return nullptr;
}

const additions::entry* additions::find_template(std::string_view uri, scope granted, json& values) const {
  for (const entry& e : entries_) {
    if (e.what != mcp::kind::resource_template || granted < e.needs) continue;
    json found = json::object();
    std::string_view pattern = e.name, rest = uri;
    bool fits = true;
    while (fits && !pattern.empty()) {
      if (pattern[0] != '{') {
        fits = !rest.empty() && rest[0] == pattern[0];
        pattern.remove_prefix(1);
        if (fits) rest.remove_prefix(1);
        continue;
      }
      const auto close = pattern.find('}');
      const std::string name(pattern.substr(1, close - 1));
      pattern.remove_prefix(std::min(pattern.size(), close == std::string_view::npos ? pattern.size() : close + 1));
      const auto end = pattern.empty() ? rest.size() : rest.find(pattern[0]);
      fits = end != std::string_view::npos && end > 0 && rest.substr(0, end).find('/') == std::string_view::npos;
      if (!fits) break;
      // Expanding a template encodes what is not a letter of it (RFC 6570); here it is decoded, once.
      auto value = percent_decoded(rest.substr(0, end));
      fits = value.has_value();
      if (fits) found[name] = std::move(*value);
      rest.remove_prefix(end);
    }
    if (!fits || !rest.empty()) continue;
    values = std::move(found);
    return &e;
  }
  return nullptr;
}

const mcp::handler* additions::completion(const std::string& reference) const {
  const auto it = completions_.find(reference);
  return it == completions_.end() ? nullptr : &it->second;
}

asio::awaitable<void> run_addition(mcp::handler run, std::shared_ptr<mcp::tool_call> call, caller who, json values) {
  std::shared_ptr<mcp::context> c = std::make_shared<call_context>(call, std::move(who), std::move(values));
  auto answer = co_await guarded(std::move(run), std::move(c));
  if (answer.has_value())
    call->answer_document(std::move(*answer));
  else if (answer.error().code == errc::not_found && call->method() == "resources/read")
    call->refuse_unknown_resource(call->tool());
  else if (answer.error().code == errc::invalid_argument)
    call->refuse_arguments(describe(answer.error()));
  else
    call->fail(describe(answer.error()));
}

}  // namespace caged::transport_mcp
