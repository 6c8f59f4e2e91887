// A real PostgreSQL of a test's own: a fresh cluster in a temporary folder, on a Unix socket only.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "plugins/storage/postgres/connection.hpp"

namespace caged::testing {

class postgres_server {
 public:
  // The one of this test program, started with the first use and stopped with the program.
  static postgres_server& instance() {
    static postgres_server one;
    return one;
  }
  ~postgres_server() {
    stop(SIGQUIT);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  bool running() const { return pid_ > 0; }
  std::string connection() const {
    return "host=" + folder_.string() + " user=caged dbname=postgres connect_timeout=5";
  }
  storage_postgres::settings settings_in(const std::string& schema) const {
    storage_postgres::settings s;
    s.connection = connection();
    s.schema = schema;
    return s;
  }

  void start() {
    pid_ = spawn({program("postgres"), "-D", (folder_ / "data").string(), "-k", folder_.string(), "-c",
                  "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=panic"});
    for (int i = 0; i < 600 && !accepts(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(accepts()) << "PostgreSQL does not accept connections; its log is in the test's output";
  }
  void stop(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // Ends connections of Caged as a network that fails would.
  int cut_connections() {
    pqxx::connection c(connection());
    pqxx::nontransaction t(c);
    return static_cast<int>(
        t.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caged'").size());
  }

 private:
  postgres_server() {
    char name[] = "/tmp/caged-postgres-XXXXXX";
    folder_ = ::mkdtemp(name);
    // PostgreSQL refuses to run as root.
    if (::geteuid() == 0) {
      EXPECT_EQ(std::system(("chown postgres " + folder_.string()).c_str()), 0);
    }
    const pid_t made = spawn({program("initdb"), "-D", (folder_ / "data").string(), "-U", "caged", "-A", "trust", "-E",
                              "UTF8", "--locale=C", "--no-sync"},
                             "/dev/null");
    int status = -1;
    ::waitpid(made, &status, 0);
    EXPECT_EQ(status, 0) << "initdb failed; is the Debian package postgresql-15 installed (./dev setup)?";
    start();
  }

  static std::string program(const std::string& name) { return "/usr/lib/postgresql/15/bin/" + name; }

  static pid_t spawn(std::vector<std::string> words, const char* out = nullptr) {
    if (::geteuid() == 0)
      words.insert(words.begin(), {"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"});
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    if (out != nullptr && std::freopen(out, "w", stdout) == nullptr) ::_exit(126);
    std::vector<char*> argv;
    for (auto& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    if (::chdir("/") != 0) ::_exit(126);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }

  bool accepts() const {
    try {
      pqxx::connection c(connection());
      return c.is_open();
    } catch (const std::exception&) {
      return false;
    }
  }

  std::filesystem::path folder_;
  pid_t pid_ = -1;
};

}  // namespace caged::testing
