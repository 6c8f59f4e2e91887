// The lives of all sandboxes: made, set up, adopted after a restart, idled, billed and ended here and nowhere else.
#pragma once

#include <caged/operation.hpp>
#include <caged/vmm.hpp>
#include <caged/vmm_archive.hpp>
#include <chrono>
#include <memory>
#include <set>
#include <unordered_map>

#include "core/config/host_config.hpp"
#include "core/journal/sessions.hpp"
#include "core/meter/usage.hpp"
#include "core/network/egress.hpp"
#include "core/runtime/async_mutex.hpp"
#include "core/runtime/scope.hpp"
#include "core/sandbox/agent_client.hpp"
#include "core/sandbox/record.hpp"
#include "core/sandbox/templates.hpp"

namespace caged::sandbox {

// A request to create, checked against schema and limits; secrets of it are never stored.
struct create_request {
  record wanted;
  std::string repo_token;
  std::string from_snapshot;  // its files instead of a template's; nothing is fetched or run at set-up
  scope granted = scope::unset;  // of who asks: only `full` may have a missing template built
};

using image_table = std::map<std::string, std::vector<std::string>>;  // by backend

// Fills defaults and checks what a schema cannot: templates, backends, modes, names, repository forms. `who` decides
// whether a path of the host or an SSH URL may be cloned (scope full only).
result<create_request> parse_create(const json& arguments, const caller& who, const config::host_config& host,
                                    const std::vector<std::string>& backends, const image_table& images);

// The rules of a record's network; refuses modes and patterns that cannot work.
result<network::rules> network_rules(const record& r);

// One sandbox while the host runs. Owned by the manager; calls hold a shared_ptr.
struct live {
  explicit live(asio::any_io_executor executor) : changed(executor, asio::steady_timer::time_point::max()) {}
  record rec;
  std::shared_ptr<agent_client> client;   // null until connected, and after it was lost
  runtime::async_mutex lifecycle;         // one lifecycle step at a time
  runtime::async_mutex connecting;
  asio::steady_timer changed;             // cancelled at each change of state: a condition variable
  std::chrono::steady_clock::time_point last_used = std::chrono::steady_clock::now();
  int calls = 0;                          // operations and streams under way; an idle sandbox has none
  std::string image;                      // of the backend, once it is known: the template with its packages
  std::string from_snapshot;              // what the next box is made of; empty: the template
  scope granted = scope::unset;           // of who asked for it; forgotten with the process
  unsigned generation = 0;                // grows when another box takes the place of the sandbox's
  bool watched = false;                   // watch_box runs for it
  std::map<int, std::int64_t> ports;      // listened on inside → when it was first seen, Unix microseconds
  std::optional<journal::session> session_change;  // stored with the next save()
  std::int64_t egress_seen = 0;           // of the network's counter, since it was opened last
  std::chrono::steady_clock::time_point written_down{};  // when its usage was stored last
  std::map<std::string, int> told;        // percentages alerted of budgets that are not its own, by their name
  bool at_limit = false;                  // being paused or destroyed for its budget
  bool agent_left = false;                // its terminal ended; the session ends soon unless somebody comes
  std::map<std::string, json> commands;   // by the agent's handle: started, their end not yet in the journal
  std::set<std::string> finishing;        // of them, those whose end is being written
};

// Keeps a sandbox from counting as idle.
class activity {
 public:
  explicit activity(std::shared_ptr<live> l) : live_(std::move(l)) { ++live_->calls; }
  activity(activity&& o) noexcept = default;
  activity& operator=(activity&&) = delete;
  ~activity() {
    if (!live_) return;
    --live_->calls;
    live_->last_used = std::chrono::steady_clock::now();
  }

 private:
  std::shared_ptr<live> live_;
};

// Budgets that are no single sandbox's, in micro-dollars; 0 = none.
struct caps {
  std::int64_t account = 0, session = 0;
};

// All methods on the loop thread.
class manager {
 public:
  struct parts {
    asio::any_io_executor executor, blocking;
    journal::journal* journal = nullptr;
    storage* records = nullptr;
    journal::sessions* sessions = nullptr;
    std::map<std::string, vmm_backend*> backends;  // by short name: "jail"
    const config::host_config* config = nullptr;
    network::egress* network = nullptr;
    meter::usage_book* usage = nullptr;            // loaded
    const caps* budgets = nullptr;
    // Adds what every sandbox's environment gets from the host; may be empty.
    std::function<result<void>(const record& r, std::map<std::string, std::string>& env)> add_environment;
    std::filesystem::path staging;                 // for clones; emptied by start()
    std::filesystem::path templates;               // what is built
    std::function<void(log_level, std::string)> log;
  };
  explicit manager(parts p);
  ~manager();

  // Reads the records, adopts living boxes, sweeps dead ones, begins the clock.
  task<void> start();
  // Stops the clock and lets go of all boxes, which live on.
  asio::awaitable<void> stop();

  // Answers as soon as the request is durable; set-up goes on. wait_settled() waits for it.
  task<record> create(create_request request);
  // Returns when the sandbox is no longer pending or the time is over, whichever is first.
  asio::awaitable<void> wait_settled(std::string id, std::chrono::steady_clock::duration limit);

  result<std::shared_ptr<live>> find(std::string_view id) const;  // also stopped, error and destroyed ones
  std::vector<std::shared_ptr<live>> all() const;                 // by creation, oldest first
  // find(), also for those that were destroyed so long ago that only their record is left; nothing can be done to them.
  task<std::shared_ptr<live>> recall(std::string id);
  // Takes what was destroyed before that time out of memory.
  void let_go(std::int64_t before_us);
  task<void> pause(std::string id);
  task<void> resume(std::string id);
  task<void> destroy(std::string id, std::string reason);
  task<record> update(std::string id, json patch);
  // The agent of a running sandbox, connected. Refusals say what state it is in and what to do.
  task<std::shared_ptr<agent_client>> agent(std::shared_ptr<live> l);
  task<box_usage> usage(std::string id);
  task<std::vector<box_change>> changes(std::string id);

  // Snapshots as rows: id, sandbox_id, name, description, status, trigger, size_bytes … manager_snapshot.cpp
  task<std::vector<json>> snapshot_rows();
  task<json> snapshot_row(std::string snapshot_id);
  // `about`: name, description, trigger (manual, auto, fork).
  task<json> take_snapshot(std::string id, json about);
  // Into `target`, or where it came from: that sandbox's processes end and its files are the snapshot's.
  task<void> restore_snapshot(std::string snapshot_id, std::string target);
  task<void> delete_snapshot(std::string snapshot_id);
  // `count` new sandboxes with the files of `id`, its settings and a history of their own: all of them or none.
  task<std::vector<std::string>> fork(std::string id, std::string name, unsigned count);
  // .tar.gz to and from a socket, which they close.
  task<json> export_snapshot(std::string snapshot_id, int fd);
  task<json> import_snapshot(std::string id, json about, int fd);

  templates& built() noexcept { return templates_; }
  // conflict while a living sandbox is made of it.
  task<void> remove_template(std::string name);

  // Writes facts about a sandbox, durable when it returns.
  task<void> note(std::shared_ptr<live> l, std::string type, json data, std::chrono::microseconds took = {});
  // The same, with the sandbox's record and further writes in one commit.
  task<void> save_with(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took,
                       std::vector<write> writes);
  // A command began: its fact goes out at once, its end is written by whoever sees it first, even if no client waits.
  void command_started(std::shared_ptr<live> l, std::string process, json fact);
  // Writes the end of a command, once; durable when it returns.
  task<void> command_finished(std::shared_ptr<live> l, std::string process, json exit);
  // Somebody works in the sandbox: the session goes on, or a new one begins. `agent` is its kind, "" = not known.
  task<void> agent_at_work(std::shared_ptr<live> l, std::string agent);
  // An agent hung up: unless another comes at once, its session is over.
  void agent_left(std::shared_ptr<live> l) { l->agent_left = true; }
  // Puts all that was used until now into the rows of usage; they are stored with the sandboxes' next facts.
  void count_usage();
  // Pauses or destroys whatever is over a budget, and resumes what was paused for one that has been raised.
  task<void> settle_budgets();
  // Work that belongs to no single call; cancelled and joined by stop().
  void run(std::string name, asio::awaitable<void> work) { work_.spawn(std::move(name), std::move(work)); }
  result<vmm_backend*> backend_of(const record& r) const;
  std::vector<std::string> backend_names() const;  // the default first
  std::vector<std::string> images() const;  // of all backends, each once
  const image_table& images_by_backend() const noexcept { return images_; }
  // Asks the backends again: an engine may have got a new image.
  task<void> list_images();
  const config::host_config& config() const noexcept { return *parts_.config; }
  std::size_t alive() const noexcept;
  // Opens the network of sandboxes that were taken over before all services of the host were there.
  task<void> open_networks();
  // Counters of its network; null while it has none.
  json network_status(const std::string& id) const;

 private:
  // manager_setup.cpp
  asio::awaitable<void> set_up(std::shared_ptr<live> l, std::string repo_token);
  task<void> make_box(std::shared_ptr<live> l);
  task<void> build_up(std::shared_ptr<live> l, std::string token);
  // To the staging folder on the host; the folder that goes to /workspace.
  task<std::filesystem::path> fetch_repository(std::shared_ptr<live> l, std::string token);
  task<void> unpack_repository(std::shared_ptr<live> l, std::filesystem::path folder);
  asio::awaitable<void> forget_staging(std::shared_ptr<live> l);
  task<void> unpack(std::shared_ptr<live> l, std::shared_ptr<byte_source> tar);
  task<void> check_software(std::shared_ptr<live> l);
  task<void> run_init(std::shared_ptr<live> l);
  // manager_template.cpp
  task<void> prepare_template(std::shared_ptr<live> l);
  task<std::string> layer_key(std::shared_ptr<live> l, std::filesystem::path repository);
  task<std::vector<json>> layer_rows();
  task<std::string> find_layer(std::string key);
  task<void> keep_layer(std::shared_ptr<live> l, std::string key);
  task<void> drop_layer(std::string id, std::string backend_name);
  // manager_network.cpp
  // Opens the way out of a box that was made or adopted, where it has one.
  task<void> open_network(std::shared_ptr<live> l);
  result<void> change_network(record& r, const json& patch) const;
  // manager_snapshot.cpp
  task<void> commit_one(write w);
  task<std::uint64_t> snapshot_room(record of, std::string trigger);
  task<void> drop_snapshot(json row);
  task<void> adopt_snapshots();
  asio::awaitable<void> keep_idle(std::shared_ptr<live> l);
  result<vmm_archive*> archives_of(const json& row) const;
  // manager_watch.cpp
  task<void> adopt_all();
  asio::awaitable<void> watch_box(std::shared_ptr<live> l);
  asio::awaitable<void> tick();
  asio::awaitable<void> tick_one(std::shared_ptr<live> l);
  task<void> end_idle_session(std::shared_ptr<live> l);
  // manager_money.cpp
  void count_time(live& l);
  task<void> write_down(std::shared_ptr<live> l);
  task<void> check_budget(std::shared_ptr<live> l);
  std::vector<std::pair<std::string, std::int64_t>> over_budgets(const live& l) const;
  asio::awaitable<void> end_for_budget(std::shared_ptr<live> l, std::string budget);
  bool ends_paused(const live& l) const;  // at 100 % it is paused, not destroyed
  task<void> plan_permits() const;

  void watch(std::shared_ptr<live> l);
  // Takes the connection into use and listens to what the agent tells by itself.
  void attach(std::shared_ptr<live> l, std::shared_ptr<agent_client> client);
  void on_notice(std::weak_ptr<live> l, const std::string& type, json data);
  asio::awaitable<void> forget_when_lost(std::shared_ptr<live> l, std::shared_ptr<agent_client> client);
  // Changes state, writes the record and the fact in one commit, wakes waiters. conflict when it may not be.
  task<void> become(std::shared_ptr<live> l, state to, json fact);
  task<void> save(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took = {});
  // What save() and note() share: one fact and the writes that go with it, in one commit.
  task<void> append(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took,
                    std::vector<write> writes);
  void drop_client(live& l);

  parts parts_;
  runtime::scope work_;
  runtime::async_mutex snapshots_;  // one snapshot at a time: their limits are counted
  std::unordered_map<std::string, std::shared_ptr<live>> sandboxes_;
  image_table images_;
  templates templates_;
};

}  // namespace caged::sandbox
