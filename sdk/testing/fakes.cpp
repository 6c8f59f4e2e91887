#include <caged/testing/fakes.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <caged/json_schema.hpp>
#include <thread>

namespace caged::testing {

namespace fs = std::filesystem;

std::vector<const operation_info*> fake_operations::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<const operation_info*> out;
  for (const entry& e : entries_) out.push_back(&e.info);
  return out;
}

const operation_info* fake_operations::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  for (const entry& e : entries_)
    if (e.info.name == name) return &e.info;
  return nullptr;
}

task<caller> fake_operations::authenticate(std::string credential) {
  caller who;
  who.key_id = "test";
  who.name = "test";
  if (credential == full_key)
    who.granted = scope::full;
  else if (credential == read_key)
    who.granted = scope::read;
  else
    co_return fail(errc::unauthenticated, "key_unknown", "the key is not known", "Send a key that is.");
  co_return who;
}

task<caller> fake_operations::redeem_ticket(std::string given) {
  if (given != ticket || std::exchange(ticket_used_, true))
    co_return fail(errc::unauthenticated, "ticket_unknown", "the ticket is not known or used up",
                   "Ask for another one.");
  caller who;
  who.key_id = "test";
  who.granted = scope::full;
  co_return who;
}

task<reply> fake_operations::invoke(call c) {
  operation_handler handler;
  json input;
  {
    const std::lock_guard lock(mutex_);
    for (const entry& e : entries_) {
      if (e.info.name != c.operation) continue;
      if (c.who.granted < e.info.needs)
        co_return fail(errc::permission_denied, "scope_too_small", "the key's scope does not reach",
                       "Use another key.");
      handler = e.handler;
      input = e.info.input;
    }
  }
  if (!handler)
    co_return fail(errc::not_found, "operation_unknown", "no operation " + c.operation, "List the operations.");
  auto schema = json_schema::compile(input);
  if (schema.has_error()) co_return schema.error();
  apply_defaults(input, c.arguments);
  auto fits = schema->check(c.arguments);
  if (fits.has_error()) co_return fits.error();
  co_return co_await handler(std::move(c));
}

result<void> fake_operations::add(operation_info info, operation_handler handler) {
  if (find(info.name) != nullptr)
    return fail(errc::conflict, "operation_name_taken", "an operation " + info.name + " is there already",
                "Rename it.");
  for (const json* schema : {&info.input, &info.output}) {
    if (schema->is_null()) continue;
    auto compiled = json_schema::compile(*schema);
    if (compiled.has_error()) return compiled.error();
  }
  const std::lock_guard lock(mutex_);
  entries_.push_back({std::move(info), std::move(handler)});
  return {};
}

void fake_operations::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
  ticket_used_ = false;
}

void fake_events::publish(event e) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(e));
}

std::vector<event> fake_events::all() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

struct fake_host::parts {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::thread_pool pool{2};
  std::thread thread{[this] { context.run(); }};
  fs::path folder;
  fake_operations operations;
  fake_events events;
  fake_front front;
  mutable std::mutex mutex;
  std::map<std::string, void*, std::less<>> services;
  std::string log;
};

fake_host::fake_host() : parts_(std::make_unique<parts>()) {
  std::string pattern = (fs::temp_directory_path() / "caged-fake-host-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + pattern);
  parts_->folder = pattern;
  add_service<operations>(&parts_->operations);
  add_service<event_sink>(&parts_->events);
  add_service<http::front>(&parts_->front);
}

fake_host::~fake_host() {
  parts_->work.reset();
  parts_->context.stop();
  parts_->thread.join();
  parts_->pool.join();
  std::error_code ignored;
  fs::remove_all(parts_->folder, ignored);
}

asio::any_io_executor fake_host::executor() { return parts_->context.get_executor(); }
asio::any_io_executor fake_host::blocking_executor() { return parts_->pool.get_executor(); }
fs::path fake_host::data_dir() const { return parts_->folder; }
fs::path fake_host::program_dir() const { return fs::read_symlink("/proc/self/exe").parent_path(); }
fake_operations& fake_host::registry() { return parts_->operations; }
fake_events& fake_host::events() { return parts_->events; }
fake_front& fake_host::front() { return parts_->front; }

void fake_host::log(log_level, std::string_view message) {
  const std::lock_guard lock(parts_->mutex);
  parts_->log.append(message).append("\n");
}

std::string fake_host::logged() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->log;
}

void* fake_host::find_service(std::string_view name) noexcept {
  const std::lock_guard lock(parts_->mutex);
  const auto it = parts_->services.find(name);
  return it == parts_->services.end() ? nullptr : it->second;
}

void fake_host::add_service(std::string name, void* service) {
  const std::lock_guard lock(parts_->mutex);
  parts_->services[std::move(name)] = service;
}

}  // namespace caged::testing
