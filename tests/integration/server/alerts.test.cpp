// Alerts through a real server: states, notifications, e-mail over real SMTP, dead letters.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include <caged/base64.hpp>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

// mail_server.py in a folder of its own.
class mail_host {
 public:
  explicit mail_host(std::string mode = {}) : folder(temporary_folder()) {
    if (!mode.empty())
      std::system(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
                   "subjectAltName=DNS:localhost -keyout " + folder.string() + "/key.pem -out " + folder.string() +
                   "/cert.pem 2>/dev/null").c_str());
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    const std::string script = std::string(CAGED_TESTS_DIR) + "/mail_server.py";
    pid = ::fork();
    if (pid == 0) {
      ::dup2(ends[1], 1);
      ::execl("/usr/bin/python3", "python3", script.c_str(), folder.c_str(), mode.empty() ? nullptr : mode.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    char text[16] = {};
    ssize_t n = 0;
    while ((n = ::read(ends[0], text, sizeof text - 1)) < 0 && errno == EINTR) {
    }
    if (n > 0) port = std::atoi(text);
    ::close(ends[0]);
  }
  ~mail_host() {
    if (pid > 0) ::kill(pid, SIGKILL);
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  // The first message, "" when there is none.
  std::string message() const {
    std::ifstream in(folder / "1.eml");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path folder;
  pid_t pid = -1;
  int port = 0;
};

class Alerts : public ::testing::Test {
 protected:
  void SetUp() override { data = temporary_folder(); }
  void begin(const std::string& config) {
    host.emplace(data, config);
    ASSERT_TRUE(host->healthy()) << host->log();
    client.emplace(host->client());
  }
  void TearDown() override {
    for (const auto& id : made) (void)client->call("DELETE", "/v1/sandboxes/" + id);
    client.reset();
    host.reset();
    std::error_code ignored;
    std::filesystem::remove_all(data, ignored);
  }
  json call(const std::string& method, const std::string& target, const json& body = nullptr) {
    auto answer = client->call(method, target, body);
    EXPECT_TRUE(answer) << method << " " << target << ": " << (answer ? "" : describe(answer.error()));
    return answer ? *answer : json();
  }
  std::string make(json body = json::object()) {
    body["wait"] = true;
    made.push_back(call("POST", "/v1/sandboxes", body).value("id", ""));
    return made.back();
  }
  // The first alert of that title, null when there is none in time.
  json alert(const std::string& title) {
    json found;
    (void)eventually([&] {
      const json page = call("GET", "/v1/alerts?limit=100");
      for (const json& a : page["alerts"])
        if (a["title"] == title) found = a;
      return !found.is_null();
    }, std::chrono::seconds(30));
    return found;
  }
  // Ends a sandbox by its budget, which raises alerts.
  void spend() { make({{"budget", 0.000001}}); }

  std::filesystem::path data;
  std::optional<server> host;
  std::optional<http::client> client;
  std::vector<std::string> made;
};

std::string mail_config(const mail_host& mail, const std::string& tls) {
  return "mail: {server: 'localhost:" + std::to_string(mail.port) + "', from: caged@test.invalid, tls: " + tls + "}\n";
}

TEST_F(Alerts, GoByMailAndAreToldInside) {
  mail_host mail;
  ASSERT_GT(mail.port, 0);
  begin(mail_config(mail, "none"));
  EXPECT_FALSE(client->call("PUT", "/v1/notifications/config", {{"email_address", "a@b.c>\r\nRCPT TO:<x@y.z"}}));
  call("PUT", "/v1/notifications/config", {{"email_address", "dev@test.invalid"}});
  const json config = call("GET", "/v1/notifications/config");
  EXPECT_EQ(config["email_address"], "dev@test.invalid");
  spend();
  ASSERT_TRUE(eventually([&] { return !mail.message().empty(); }, std::chrono::seconds(30))) << call("GET", "/v1/alerts/deliveries");
  const std::string text = mail.message();
  EXPECT_EQ(text.substr(0, text.find("\nFrom")), "caged@test.invalid\ndev@test.invalid");
  const auto body = text.find("\r\n\r\n");
  ASSERT_NE(body, std::string::npos);
  std::string encoded = text.substr(body + 4);
  std::erase_if(encoded, [](char c) { return c == '\r' || c == '\n'; });
  EXPECT_NE(base64_decode(encoded).value_or("").find("of the budget is spent"), std::string::npos) << text;
  // Inside.
  const json told = call("GET", "/v1/notifications?unread=true");
  ASSERT_GE(told["notifications"].size(), 1u);
  const auto unread = call("GET", "/v1/notifications/unread-count")["unread_count"].get<int>();
  call("POST", "/v1/notifications/" + told["notifications"][0]["id"].get<std::string>() + "/read");
  EXPECT_EQ(call("GET", "/v1/notifications/unread-count")["unread_count"], unread - 1);
  call("POST", "/v1/notifications/read-all");
  EXPECT_EQ(call("GET", "/v1/notifications?unread=true")["notifications"].size(), 0u);
}

TEST_F(Alerts, MailWantsACertificateItCanCheck) {
  mail_host mail("starttls");
  ASSERT_GT(mail.port, 0);
  // Not one that anybody vouches for: nothing is sent.
  begin(mail_config(mail, "starttls"));
  call("PUT", "/v1/notifications/config", {{"email_address", "dev@test.invalid"}});
  spend();
  ASSERT_FALSE(alert("budget_exceeded").is_null());
  EXPECT_TRUE(eventually([&] {
    for (const json& d : call("GET", "/v1/alerts/deliveries"))
      if (d["last_error"].is_string() && d["last_error"].get<std::string>().find("certificate") != std::string::npos) return true;
    return false;
  }, std::chrono::seconds(30))) << call("GET", "/v1/alerts/deliveries");
  EXPECT_TRUE(mail.message().empty());
  host.reset();
  ::setenv("SSL_CERT_FILE", (mail.folder / "cert.pem").c_str(), 1);
  begin(mail_config(mail, "starttls"));
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_TRUE(eventually([&] { return !mail.message().empty(); }, std::chrono::seconds(60))) << call("GET", "/v1/alerts/deliveries");
}

TEST_F(Alerts, ErrorsInARowAndFailedSandboxesAreTold) {
  begin("");
  call("PUT", "/v1/alerts/rules/rule-error_spike", {{"config", {{"error_count_threshold", 3}}}});
  const std::string id = make();
  json events = json::array();
  const std::string session = call("GET", "/v1/sandboxes/" + id)["session_id"].get<std::string>();
  for (int i = 0; i < 3; ++i)
    events.push_back({{"type", "error"}, {"sandbox_id", id}, {"session_id", session}, {"timestamp", "2026-01-01T00:00:00Z"}, {"payload", {{"message", "x"}}}});
  call("POST", "/v1/events/ingest", {{"events", events}});
  const json spike = alert("error_spike");
  ASSERT_FALSE(spike.is_null());
  // Muted: not over, but not told again; resolved: over.
  const std::string one = "/v1/alerts/" + spike["id"].get<std::string>();
  call("POST", one + "/mute");
  EXPECT_EQ(call("GET", one)["state"], "muted");
  const auto before = call("GET", "/v1/alerts")["total"];
  call("POST", "/v1/events/ingest", {{"events", events}});
  call("GET", "/v1/sessions/" + session + "/trust");
  EXPECT_EQ(call("GET", "/v1/alerts")["total"], before);
  call("POST", one + "/resolve");
  EXPECT_EQ(call("GET", one)["state"], "resolved");
  EXPECT_FALSE(client->call("POST", one + "/mute"));
  EXPECT_FALSE(client->call("POST", "/v1/sandboxes", {{"init_script", "exit 3"}, {"wait", true}}));
  EXPECT_FALSE(alert("sandbox_error").is_null());
}

TEST_F(Alerts, WhatCannotBeDeliveredStaysToBeSeen) {
  begin("");
  call("PUT", "/v1/notifications/config", {{"webhook_url", "http://127.0.0.1:1/nobody"}, {"slack_webhook_url", "http://127.0.0.1:1/x"}});
  call("PUT", "/v1/notifications/config", {{"enabled_channels", {"in_app", "webhook"}}});
  spend();
  ASSERT_FALSE(alert("budget_exceeded").is_null());
  json dead;
  EXPECT_TRUE(eventually([&] {
    for (const json& d : call("GET", "/v1/alerts/deliveries")) {
      EXPECT_EQ(d["channel"], "webhook") << "slack is switched off";
      if (d["state"] == "dead") dead = d;
    }
    return !dead.is_null();
  }, std::chrono::seconds(90)));
  ASSERT_FALSE(dead.is_null());
  EXPECT_EQ(dead["attempts"], 6);
  EXPECT_TRUE(dead["last_error"].is_string());
  call("POST", "/v1/alerts/deliveries/" + dead["id"].get<std::string>() + "/retry");
}

}  // namespace
}  // namespace caged::testing
