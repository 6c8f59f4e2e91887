// Named secrets: set, listed by name, removed; never read back.
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/vault.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<reply> set(services* s, call c) {
  const json& a = c.arguments;
  auto done = co_await s->secrets->set(a["name"].get<std::string>(), a["value"].get<std::string>(),
                                       a.value("hosts", std::vector<std::string>()));
  if (!done) co_return done.error();
  co_return answer(to_api(*done));
}

task<reply> list_all(services* s, call) {
  json rows = json::array();
  for (const auto& one : s->secrets->list()) rows.push_back(to_api(one));
  co_return answer(std::move(rows));
}

task<reply> remove(services* s, call c) {
  auto done = co_await s->secrets->remove(c.arguments["name"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

}  // namespace

void add_secret_operations(services& s) {
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };
  const json shape = schema::output({{"name", text("Name.")},
                                     {"hosts", list(text("Host."), "The only hosts it may be sent to.")},
                                     {"created_at", text("RFC 3339.")},
                                     {"updated_at", text("RFC 3339.")}});
  const json name{{"type", "string"},
                  {"description", "Name of the secret, which is also the variable in a sandbox."},
                  {"minLength", 1},
                  {"maxLength", 128}};
  auto info =
      declare("secret.set", "PUT", "/v1/secrets/{name}", scope::full, "Set a secret; its value is not shown again",
              schema::input({{"name", name},
                             {"value", text("The value, 8 bytes to 64 KiB.")},
                             {"hosts", list(text("Host."), "The only hosts that it may be sent to.")}},
                            {"name", "value"}),
              shape);
  info.description =
      "Sealed at rest. A sandbox that names it in `secrets` gets it as an environment variable; its value is replaced "
      "by "
      "[redacted] in every event.";
  info.idempotent = true;
  own(std::move(info), "lifecycle", set);
  info = declare("secret.list", "GET", "/v1/secrets", scope::read, "List the names of secrets", schema::input({}),
                 list(shape));
  own(std::move(info), "", list_all);
  info = declare("secret.remove", "DELETE", "/v1/secrets/{name}", scope::full, "Remove a secret",
                 schema::input({{"name", name}}, {"name"}), nothing());
  info.success = 204;
  info.destructive = true;
  own(std::move(info), "lifecycle", remove);
}

}  // namespace caged::operation
