#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Auth : public ServerTest {};

TEST_F(Auth, WithoutAKeyOnlyHealthAndTheDescriptionAnswer) {
  http::client_options o;
  o.base_url = host->address();
  auto nobody = http::client::make(o).value();
  EXPECT_TRUE(nobody.call("GET", "/healthz"));
  EXPECT_TRUE(nobody.call("GET", "/openapi.json"));
  const auto refusal = nobody.call("GET", "/v1/sandboxes");
  ASSERT_FALSE(refusal);
  EXPECT_EQ(refusal.error().code, errc::unauthenticated);
  auto wrong = host->client("caged_sk_" + std::string(64, '0'));
  EXPECT_EQ(wrong.call("GET", "/v1/sandboxes").error().code, errc::unauthenticated);
}

TEST_F(Auth, AReadKeyIsRefusedOnEveryRouteThatChangesSomething) {
  const json fresh = call("POST", "/v1/account/keys", {{"name", "reader"}, {"scope", "read_only"}});
  const std::string key = fresh["key"].get<std::string>();
  EXPECT_EQ(fresh["info"]["scope"], "read");
  auto reader = host->client(key);
  EXPECT_TRUE(reader.call("GET", "/v1/sandboxes"));
  const json api = call("GET", "/openapi.json");
  int refused_routes = 0;
  for (const auto& [path, methods] : api["paths"].items()) {
    for (const auto& [method, about] : methods.items()) {
      if (method == "get" || path == "/v1/auth/socket-ticket" || path.ends_with("/glob") || path.ends_with("/search"))
        continue;
      std::string target = path;
      for (std::size_t at; (at = target.find('{')) != std::string::npos;)
        target.replace(at, target.find('}') - at + 1, "x");
      std::string upper = method;
      for (auto& c : upper) c = static_cast<char>(std::toupper(c));
      http::client_request r;
      r.method = upper;
      r.target = target;
      r.fields = {{"content-type", "application/json"}};
      r.body = "{}";
      auto answer = reader.request(r);
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->status, 403) << upper << " " << path << " " << answer->body;
      ++refused_routes;
    }
  }
  EXPECT_GT(refused_routes, 20);
  call("DELETE", "/v1/account/keys/" + fresh["info"]["id"].get<std::string>());
  EXPECT_EQ(reader.call("GET", "/v1/sandboxes").error().code, errc::unauthenticated);
}

TEST_F(Auth, ASandboxKeyCannotReachTheHostsFilesOrKeys) {
  const json fresh = call("POST", "/v1/account/keys", {{"name", "agent"}, {"scope", "sandbox"}});
  auto agent = host->client(fresh["key"].get<std::string>());
  EXPECT_EQ(agent.call("POST", "/v1/sandboxes", {{"repo", "/etc"}}).error().code, errc::permission_denied);
  EXPECT_EQ(agent.call("GET", "/v1/account/keys").error().code, errc::permission_denied);
  EXPECT_EQ(agent.call("POST", "/v1/account/keys", {{"name", "x"}, {"scope", "full"}}).error().code,
            errc::permission_denied);
}

TEST_F(Auth, TheLastFullKeyStays) {
  const json keys = call("GET", "/v1/account/keys");
  for (const auto& k : keys)
    if (k["scope"] == "full") {
      EXPECT_EQ(refused("DELETE", "/v1/account/keys/" + k["id"].get<std::string>()).reason, "last_key");
    }
}

TEST_F(Auth, ForeignHostNamesAreRefused) {
  const std::string address = host->address();
  const auto port = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  for (const std::string name : {"evil.example", "127.0.0.1.nip.io", "localhost.evil.com"}) {
    asio::io_context context;
    asio::ip::tcp::socket socket(context);
    socket.connect({asio::ip::address_v4::loopback(), port});
    asio::write(socket, asio::buffer("GET /v1/sandboxes HTTP/1.1\r\nHost: " + name + "\r\n\r\n"));
    std::string answer(12, ' ');
    asio::read(socket, asio::buffer(answer));
    EXPECT_EQ(answer, "HTTP/1.1 403") << name;
  }
}

TEST_F(Auth, TheHostDescribesItself) {
  const json can = call("GET", "/v1/capabilities");
  EXPECT_EQ(can["limits"]["cpus"]["max"], 8);
  EXPECT_EQ(can["backends"][0], "jail");
  EXPECT_FALSE(call("GET", "/v1/doctor")["backends"][0]["probes"].empty());
  bool jail = false;
  for (const auto& p : call("GET", "/v1/plugins")) jail |= p["kind"] == "vmm" && p["name"] == "jail";
  EXPECT_TRUE(jail);
  EXPECT_EQ(call("GET", "/v1/plugins/vmm.jail/schema")["type"], "object");
  http::client_request r;
  r.target = "/metrics";
  EXPECT_NE(raw(r).body.find("caged_"), std::string::npos);
}

}  // namespace
}  // namespace caged::testing
