// Kind "transport": a way in. Answers everything exactly once, lets nobody in without a credential, and leaves no
 // route.
#include <caged/testing/contract.hpp>

namespace caged::testing {
namespace {

bool routes_promised(contract_context& c) {
  const auto& offers = c.offers();
  return std::find(offers.begin(), offers.end(), "routes") != offers.end();
}

task<fake_front::answer> ask(fake_front* front, std::string method, std::string target, http::headers fields,
                             std::string body) {
  co_return co_await front->request(std::move(method), std::move(target), std::move(fields), std::move(body));
}

// Paths below each of its routes on the server's own names.
std::vector<std::string> prefixes(contract_context& c) {
  std::vector<std::string> out;
  for (const std::string& route : c.host().front().routes())
    if (route[0] == ' ') out.push_back(route.substr(1) == "/" ? "" : route.substr(1));
  if (out.empty()) c.skip("it has no routes on the server's own names");
  return out;
}

int status_of(contract_context& c, std::string method, const std::string& target, http::headers fields,
              std::string body) {
  const std::string what = method + " " + target;
  auto answer = c.await(ask(&c.host().front(), std::move(method), target, std::move(fields), std::move(body)));
  const auto got = c.require_ok(std::move(answer), what);
  c.expect(got.exception.empty(), what + ": the handler threw: " + got.exception);
  c.expect(got.answers == 1, what + ": answered " + std::to_string(got.answers) + " times, expected once");
  c.expect(got.response.status < 500 || got.response.status == 501,
           what + ": answered " + std::to_string(got.response.status));
  return got.response.status;
}

const http::headers with_key = {{"authorization", "Bearer " + std::string(fake_operations::full_key)},
                                {"content-type", "application/json"}};

void registers_routes(contract_context& c) {
  c.expect(routes_promised(c) == !c.host().front().routes().empty(),
           routes_promised(c) ? "it offers routes but registered none"
                              : "it has routes but does not say so (CAGED_OFFERS_ROUTES)");
}

void takes_routes_out(contract_context& c) {
  c.close();
  for (const std::string& route : c.host().front().routes())
    c.expect(false, "the route \"" + route + "\" is left after close()");
}

void answers_everything(contract_context& c) {
  for (const std::string& prefix : prefixes(c)) {
    for (const char* method : {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"})
      for (const char* rest :
           {"", "/", "/no/such/thing", "/%00", "/%2e%2e/%2e%2e/etc/passwd", "/%ff%fe", "/?a=%zz&a=1&=&"})
        (void)status_of(c, method, prefix + (prefix.empty() && *rest == '\0' ? "/" : rest), with_key, "");
  }
}

void refuses_wrong_keys(contract_context& c) {
  const std::vector<http::headers> wrong = {{{"authorization", "Bearer caged_sk_wrong"}},
                                            {{"authorization", "Bearer "}},
                                            {{"authorization", "Basic YTpi"}},
                                            {{"x-api-key", "caged_sk_wrong"}}};
  operation_info info;
  info.name = "contract.secret";
  info.summary = "What only a key may see";
  info.needs = scope::read;
  info.input = {{"type", "object"}};
  info.output = {{"type", "object"}};
  info.method = "GET";
  info.path = "/v1/contract-secret";
  auto called = std::make_shared<int>(0);
  c.require_ok(c.host().registry().add(info,
                                       [called](call) -> task<reply> {
                                         ++*called;
                                         return []() -> task<reply> { co_return reply{}; }();
                                       }),
               "add an operation");
  for (const std::string& prefix : prefixes(c)) {
    for (const auto& fields : wrong) {
      const int status = status_of(c, "POST", prefix + "/contract-secret", fields, "{}");
      c.expect(status >= 400, prefix + " answers " + std::to_string(status) + " to a wrong key");
      (void)status_of(c, "GET", prefix + "/contract-secret", fields, "");
    }
  }
  c.expect(*called == 0, "an operation was run for a wrong key");
}

void refuses_malformed_bodies(contract_context& c) {
  for (const std::string& prefix : prefixes(c)) {
    for (const std::string& body : {std::string("{"), std::string("[]"), std::string("\"x\""),
                                    std::string("{\"a\":1,\"a\":2}"), std::string("\xff\xfe"), std::string(70, '[')})
      (void)status_of(c, "POST", prefix.empty() ? "/" : prefix, with_key, body);
  }
}

const suite transport_suite("transport", {{"registers the routes it offers", registers_routes},
                                          {"takes its routes out in close()", takes_routes_out},
                                          {"answers everything exactly once", answers_everything},
                                          {"refuses wrong keys", refuses_wrong_keys},
                                          {"refuses malformed bodies", refuses_malformed_bodies}});

}  // namespace
}  // namespace caged::testing
