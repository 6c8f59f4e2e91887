#include "support.hpp"

#include <fcntl.h>
#include <grp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <caged/random.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>

namespace caged::vmm::jail::testing {
namespace fs = std::filesystem;

test_host::test_host(fs::path folder) : own_(folder.empty()), data_(std::move(folder)), work_(loop_.get_executor()) {
  if (own_) {
    std::string name = (fs::temp_directory_path() / "caged-jail-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    data_ = name;
  }
  thread_ = std::thread([this] { loop_.run(); });
}

test_host::~test_host() {
  pool_.join();
  work_.reset();
  loop_.stop();
  thread_.join();
  if (own_) {
    std::error_code ec;
    fs::remove_all(data_, ec);
  }
}

fs::path test_host::program_dir() const { return fs::path(CAGED_BUILD_DIR) / "bin"; }

void test_host::log(log_level, std::string_view message) {
  const std::lock_guard lock(guard_);
  log_ += std::string(message) + "\n";
}

std::string test_host::logged() const {
  const std::lock_guard lock(guard_);
  return log_;
}

std::vector<event> test_host::facts(const std::function<bool(const event&)>& wanted, std::size_t count) {
  std::unique_lock lock(facts_.guard);
  std::vector<event> found;
  facts_.changed.wait_for(lock, std::chrono::seconds(10), [&] {
    found.clear();
    std::copy_if(facts_.all.begin(), facts_.all.end(), std::back_inserter(found), wanted);
    return found.size() >= count;
  });
  return found;
}

json test_config(json more) {
  json config = {{"agent", std::string(CAGED_BUILD_DIR) + "/tests/caged-stand-in-agent"}, {"warm_boxes", 0}};
  config.update(more);
  return config;
}

namespace {

task<std::string> converse(vmm_backend* jail, std::string id, std::string command) {
  auto connected = co_await jail->connect(id);
  if (!connected) co_return connected.error();
  box_stream stream = std::move(*connected);
  auto [failed, sent] = co_await asio::async_write(stream, asio::buffer(command), use_tuple);
  if (failed) co_return fail(errc::unavailable, "write", failed.message());
  boost::system::error_code ec;
  stream.shutdown(box_stream::shutdown_send, ec);
  std::string all;
  char piece[8192];
  for (;;) {
    auto [ended, n] = co_await stream.async_read_some(asio::buffer(piece), use_tuple);
    all.append(piece, n);
    if (ended) co_return all;
  }
}

task<std::string> converse_until(vmm_backend* jail, std::string id, std::string command,
                                 std::chrono::seconds deadline) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, deadline);
  auto first = co_await (converse(jail, id, command) || timer.async_wait(asio::use_awaitable));
  if (first.index() == 1) co_return fail(errc::deadline_exceeded, "timeout", "the command took too long");
  co_return std::get<0>(std::move(first));
}

std::size_t entries(const fs::path& folder) {
  std::size_t n = 0;
  std::error_code ec;
  for (auto it = fs::recursive_directory_iterator(folder, ec); !ec && it != fs::recursive_directory_iterator();
       it.increment(ec))
    ++n;
  return n;
}

}  // namespace

result<command_result> run_in(test_host& h, vmm_backend& jail, const std::string& id, const std::string& command,
                              std::chrono::seconds deadline) {
  auto all = h.await(converse_until(&jail, id, command, deadline));
  if (!all) return all.error();
  command_result out;
  const auto end = all->rfind('\x1e');
  if (end != std::string::npos) out.status = std::atoi(all->c_str() + end + 1);
  out.output = all->substr(0, end);
  return out;
}

box_spec small_box(const std::string& id) {
  box_spec spec;
  spec.id = id;
  spec.memory_bytes = 128ull << 20;
  spec.max_processes = 64;
  accept_what_lacks(spec);
  return spec;
}

void accept_what_lacks(box_spec& spec) {
  if (::geteuid() != 0) spec.accept_missing = {"cgroup.memory", "cgroup.cpu", "cgroup.pids"};
}

std::unique_ptr<test_host> shared_jail::host_;
std::unique_ptr<backend> shared_jail::jail_;
std::vector<std::string> shared_jail::made_;

void shared_jail::SetUpTestSuite() {
  host_ = std::make_unique<test_host>();
  jail_ = std::make_unique<backend>(*host_, test_config());
  auto opened = host_->await(jail_->open());
  if (!opened) throw std::runtime_error(describe(opened.error()));
}

void shared_jail::TearDownTestSuite() {
  (void)host_->await(jail_->close());
  jail_.reset();
  host_.reset();
}

void shared_jail::TearDown() {
  for (const auto& id : made_) {
    auto gone = host_->await(jail_->destroy(id));
    EXPECT_TRUE(gone || gone.error().code == errc::not_found) << describe(gone.error());
  }
  made_.clear();
}

box_info shared_jail::make(box_spec spec) {
  made_.push_back(spec.id);
  auto made = host_->await(jail_->make(spec));
  if (!made) throw std::runtime_error(describe(made.error()));
  return *made;
}

std::string shared_jail::output(const std::string& id, const std::string& command) {
  auto r = run_in(*host_, *jail_, id, command);
  return r ? r->output : "FAILED " + describe(r.error());
}

child_program::child_program(const std::vector<std::string>& argv) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::vector<char*> words;
  for (const auto& w : argv) words.push_back(const_cast<char*>(w.c_str()));
  words.push_back(nullptr);
  const int err = ::posix_spawn(&pid_, words[0], &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  output_ = ends[0];
  if (err != 0) pid_ = -1;
}

child_program::~child_program() {
  kill_hard();
  ::close(output_);
}

bool child_program::wait_ready() {
  std::string text;
  char c = 0;
  while (text.find("ready") == std::string::npos && ::read(output_, &c, 1) == 1) text += c;
  return text.find("ready") != std::string::npos;
}

void child_program::kill_hard() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

pid_t witness_of(const fs::path& data) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    std::ifstream name(entry.path() / "comm");
    std::string text;
    std::error_code ec;
    if (pid <= 1 || !std::getline(name, text) || text != "caged-witness") continue;
    // It listens at a path of its own; the memory it shares with the host tells whose it is.
    std::ifstream maps(entry.path() / "maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find((data / "witness.memory").string()) != std::string::npos) return pid;
    }
  }
  return 0;
}

std::string run_as_ordinary_user(const std::string& filter) {
  constexpr uid_t nobody = 65534;
  test_host host;
  const auto home = host.data_dir() / "home";
  fs::create_directories(home);
  if (::chmod(host.data_dir().c_str(), 0755) != 0 || ::chown(home.c_str(), nobody, nobody) != 0)
    return "cannot prepare the user's folder";
  const std::string self = fs::read_symlink("/proc/self/exe"), log = (home / "log").string();
  const std::string tmp = "TMPDIR=" + home.string(), option = "--gtest_filter=" + filter;
  const pid_t pid = ::fork();
  if (pid == 0) {
    const char* argv[] = {self.c_str(), option.c_str(), nullptr};
    const char* env[] = {tmp.c_str(), "PATH=/usr/bin:/bin", nullptr};
    if (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0 || ::chdir("/") != 0)
      ::_exit(99);
    const int out = ::open(log.c_str(), O_CREAT | O_WRONLY, 0600);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execve(argv[0], const_cast<char* const*>(argv), const_cast<char* const*>(env));
    ::_exit(98);
  }
  int status = -1;
  if (::waitpid(pid, &status, 0) != pid) return "cannot wait";
  std::ifstream in(log);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  // A run that passed nothing or skipped something is no pass.
  const bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0 && text.find("[  PASSED  ]") != std::string::npos &&
                      text.find("SKIPPED") == std::string::npos && text.find("PASSED  ] 0 tests") == std::string::npos;
  return passed ? std::string() : "status " + std::to_string(status) + "\n" + text;
}

leftovers count_leftovers(const fs::path& data) {
  leftovers out;
  for ([[maybe_unused]] const auto& e : fs::directory_iterator("/proc/self/fd")) ++out.descriptors;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) ++out.mounts;
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  for (std::string word; children >> word;) ++out.children;
  // Other hosts on this machine have groups too.
  std::error_code ec;
  const std::string instance = "caged-" + sha256_hex(fs::canonical(data, ec).string()).substr(0, 8);
  for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", ec)) {
    for (auto it = fs::recursive_directory_iterator(hierarchy, ec); !ec && it != fs::recursive_directory_iterator();
         it.increment(ec)) {
      if (it->is_directory(ec) && it->path().parent_path().filename() == instance) ++out.cgroups;
    }
  }
  out.files = entries(data / "boxes") + entries(data / "trash");
  return out;
}

std::ostream& operator<<(std::ostream& out, const leftovers& l) {
  return out << "{descriptors " << l.descriptors << ", mounts " << l.mounts << ", children " << l.children
             << ", cgroups " << l.cgroups << ", files " << l.files << "}";
}

}  // namespace caged::vmm::jail::testing
