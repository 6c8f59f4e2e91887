#include "core/plugin/instance.hpp"

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

namespace caged::plugins {
namespace {

namespace fs = std::filesystem;

std::string escaped(std::string_view message) {
  std::string out;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      char text[8];
      std::snprintf(text, sizeof text, "\\x%02x", byte);
      out += text;
    }
  }
  return out;
}

// A call of create() on a thread of its own. Whoever comes last, the waiting host or a late create(), cleans up.
struct creation {
  const caged_plugin_descriptor* descriptor = nullptr;
  std::shared_ptr<host> face;
  std::string config;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false, given_up = false;
  std::int32_t code = -1;
  void* object = nullptr;
  char reason[2048] = {};

  void run() {
    void* made = nullptr;
    std::int32_t answer = -1;
    try {
      answer = descriptor->create(face.get(), config.data(), config.size(), &made, reason, sizeof reason);
      reason[sizeof reason - 1] = '\0';
    } catch (...) {
      std::strcpy(reason, "an exception came through the door, which a descriptor must not let happen");
    }
    bool orphan = false;
    {
      const std::lock_guard lock(mutex);
      code = answer;
      object = made;
      done = true;
      orphan = given_up;
    }
    changed.notify_all();
    if (orphan && answer == 0 && made != nullptr) descriptor->destroy(made);
  }
};

}  // namespace

// Valid until close() has returned; kept for ever where a plugin is abandoned, for its code may still call it.
class instance::face : public host {
 public:
  face(std::string id, const host_options& options, std::weak_ptr<const service_finder> finder)
      : id_(std::move(id)),
        executor_(options.executor),
        blocking_(options.blocking_executor),
        log_(options.log),
        data_dir_(options.data_dir / "plugins" / id_),
        program_dir_(options.program_dir),
        finder_(std::move(finder)) {}

  asio::any_io_executor executor() override { return executor_; }
  asio::any_io_executor blocking_executor() override { return blocking_; }
  void log(log_level level, std::string_view message) override {
    if (log_) log_(level, id_, escaped(message));
  }
  fs::path data_dir() const override { return data_dir_; }
  fs::path program_dir() const override { return program_dir_; }
  void* find_service(std::string_view name) noexcept override {
    const auto finder = finder_.lock();
    return finder ? finder->find(name) : nullptr;
  }

 private:
  std::string id_;
  asio::any_io_executor executor_, blocking_;
  std::function<void(log_level, std::string_view, std::string_view)> log_;
  fs::path data_dir_, program_dir_;
  std::weak_ptr<const service_finder> finder_;
};

instance::instance(manifest m, fs::path file, const host_options& options, std::weak_ptr<const service_finder> finder)
    : manifest_(std::move(m)),
      file_(std::move(file)),
      options_(options),
      face_(std::make_shared<face>(manifest_.id(), options, std::move(finder))) {}

instance::~instance() = default;

void instance::abandon() {
  // Its coroutines or threads may run on and use both: they are left alive on purpose, and kept reachable.
  static std::mutex mutex;
  static auto* left = new std::vector<std::pair<std::shared_ptr<host>, void*>>;
  const std::lock_guard lock(mutex);
  left->emplace_back(face_, object_.load());
  object_ = nullptr;
}

error instance::refuse(error e) {
  {
    const std::lock_guard lock(failure_mutex_);
    failure_ = e;
  }
  at_ = stage::refused;
  if (options_.log) options_.log(log_level::error, id(), escaped(describe(e)));
  return e;
}

result<std::string> instance::fitted(json config) const {
  const std::string prefix = "/plugins/" + manifest_.status.kind + "/" + manifest_.status.name;
  if (config.is_null()) config = json::object();
  apply_defaults(manifest_.status.config_schema, config);
  if (auto fits = manifest_.config.check(config); fits.has_error()) {
    error e = fits.error();
    e.reason = "plugin_config_invalid";
    e.message = "plugin " + manifest_.id() + ": the configuration does not fit: " + e.message;
    e.path = prefix + e.path;
    e.action = "Correct " + e.path + "; `caged plugins schema " + manifest_.id() + "` shows what fits.";
    return e;
  }
  return to_text(config);
}

result<void> instance::make_folder() {
  const fs::path folder = face_->data_dir();
  std::error_code ec;
  fs::create_directories(folder.parent_path(), ec);
  made_folder_ = !ec && fs::create_directory(folder, ec);
  if (!ec) fs::permissions(folder, fs::perms::owner_all, ec);
  if (ec)
    return errno_error(ec.value(), "plugin " + id() + ": make its data folder " + folder.string(),
                       "Make the data folder writable for the host.");
  return {};
}

result<void> instance::create(json config) {
  auto text = fitted(std::move(config));
  if (text.has_error()) return refuse(text.error());
  if (auto made = make_folder(); made.has_error()) return refuse(made.error());

  auto c = std::make_shared<creation>();
  c->descriptor = manifest_.descriptor;
  c->face = face_;
  c->config = std::move(*text);
  std::thread worker([c] { c->run(); });
  bool done = false;
  {
    std::unique_lock lock(c->mutex);
    done = c->changed.wait_for(lock, options_.limits.create, [&] { return c->done; });
    c->given_up = !done;
  }
  const auto undo_folder = [this] {
    std::error_code ec;
    if (made_folder_) fs::remove(face_->data_dir(), ec);  // only when empty
  };
  if (!done) {
    worker.detach();  // nothing can end it; it cleans up after itself, should it ever return
    undo_folder();
    return refuse(fail(errc::deadline_exceeded, "plugin_late",
                       "plugin " + id() + ": create took longer than its deadline of " +
                           std::to_string(options_.limits.create.count()) + " ms; its thread is abandoned",
                       "Remove the plugin; its author must move waiting from the constructor to open()."));
  }
  worker.join();
  if (c->code == 0 && c->object != nullptr) {
    object_ = c->object;
    if (manifest_.descriptor->find_interface(object_.load(), manifest_.kind->interface_name.data()) != nullptr) {
      at_ = stage::configured;
      return {};
    }
    manifest_.descriptor->destroy(object_.exchange(nullptr));
    undo_folder();
    return refuse(fail(errc::invalid_argument, "plugin_interface_missing",
                       "plugin " + id() + ": it says it is of kind " + manifest_.status.kind +
                           " but has no interface " + std::string(manifest_.kind->interface_name),
                       "Derive the plugin class from the interface of its kind."));
  }
  undo_folder();
  const std::string why = c->code == 0           ? "create answered success but made no plugin"
                          : c->reason[0] == '\0' ? "create failed without a reason"
                                                 : "create failed: " + std::string(c->reason);
  return refuse(fail(errc::internal, "plugin_create_failed", "plugin " + id() + ": " + why,
                     "Check the plugin's configuration; its author knows the rest."));
}

result<void> instance::step(const char* name, std::chrono::milliseconds deadline, task<void> (plugin::*member)()) {
  auto* object = static_cast<plugin*>(object_.load());
  auto outcome = run_step(options_.executor, {id(), name}, deadline, options_.limits.grace,
                          [object, member] { return (object->*member)(); });
  if (outcome.how == ending::abandoned) abandon();
  return outcome.answer;
}

result<void> instance::advance(const char* name, std::chrono::milliseconds deadline, task<void> (plugin::*member)(),
                               stage next) {
  auto answer = step(name, deadline, member);
  if (answer.has_value()) {
    at_ = next;
    return {};
  }
  // Out of sight of others first, then closed: nobody may find an interface that is being taken down.
  const error e = refuse(answer.error());
  if (auto closed = close(); closed.has_error() && options_.log)
    options_.log(log_level::error, id(), escaped(describe(closed.error())));
  return e;
}

result<void> instance::open() {
  if (at() != stage::configured) return {};
  for (const need_row& need : needed_services(manifest_.descriptor->needs)) {
    if (face_->find_service(need.service) != nullptr) continue;
    const error e = refuse(fail(errc::unavailable, "plugin_service_missing",
                                "plugin " + id() + ": it needs the service " + std::string(need.service) + " (\"" +
                                    std::string(need.name) + "\"), which this host does not have",
                                "Load a plugin that gives it, or remove this one."));
    (void)release();
    return e;
  }
  opened_ = true;
  return advance("open", options_.limits.open, &plugin::open, stage::open);
}

result<void> instance::serve() {
  if (at() != stage::open) return {};
  return advance("serve", options_.limits.serve, &plugin::serve, stage::serving);
}

result<void> instance::drain() {
  if (at() != stage::serving) return {};
  return advance("drain", options_.limits.drain, &plugin::drain, stage::drained);
}

result<void> instance::close() {
  if (object_.load() == nullptr) return {};
  // The stage changes first, so that find_service() no longer gives the object away.
  if (at() != stage::refused) at_ = stage::closed;
  result<void> closed;
  if (std::exchange(opened_, false)) closed = step("close", options_.limits.close, &plugin::close);
  if (closed.has_error() && at() != stage::refused) closed = refuse(closed.error());
  auto released = release();
  return closed.has_error() ? closed : released;
}

result<void> instance::release() {
  if (object_.load() == nullptr) return {};
  // On the executor, because what the object owns (sockets, timers) belongs there.
  auto destroy = manifest_.descriptor->destroy;
  auto outcome = run_step(options_.executor, {id(), "destroy"}, options_.limits.close, options_.limits.grace,
                          [destroy, object = object_.load()]() -> task<void> {
                            destroy(object);
                            return []() -> task<void> { co_return result<void>{}; }();
                          });
  if (outcome.how == ending::abandoned) abandon();
  object_ = nullptr;
  return outcome.answer;
}

void* instance::interface(std::string_view name) const noexcept {
  const stage s = at();
  void* const object = object_.load();
  if (object == nullptr || (s != stage::open && s != stage::serving && s != stage::drained)) return nullptr;
  char text[128];
  if (name.size() >= sizeof text) return nullptr;
  std::memcpy(text, name.data(), name.size());
  text[name.size()] = '\0';
  return manifest_.descriptor->find_interface(object, text);
}

plugin_status instance::status() const {
  plugin_status s = manifest_.status;
  s.path = file_;
  s.at = at();
  const std::lock_guard lock(failure_mutex_);
  s.failure = failure_;
  return s;
}

}  // namespace caged::plugins
