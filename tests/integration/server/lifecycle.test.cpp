#include <fstream>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

class Lifecycle : public ServerTest {};

TEST_F(Lifecycle, MadeListedShownChangedAndDestroyed) {
  const std::string id = make({{"name", "one"},
                               {"metadata", {{"team", "a"}}},
                               {"env", {{"GREETING", "hello, world=1"}}},
                               {"timeout", 77},
                               {"budget", 1.5}});
  json box = call("GET", "/v1/sandboxes/" + id);
  EXPECT_EQ(box["name"], "one");
  EXPECT_EQ(box["metadata"]["team"], "a");
  EXPECT_EQ(box["timeout"], 77);
  EXPECT_EQ(box["budget"], 1.5);
  EXPECT_EQ(box["template"], "host");
  EXPECT_TRUE(box["error"].is_null());
  EXPECT_FALSE(box["walls"].empty());
  EXPECT_EQ(exec(id, "printf %s \"$GREETING\"")["stdout"], "hello, world=1");
  bool listed = false;
  for (const auto& row : call("GET", "/v1/sandboxes")) listed |= row["id"] == id;
  EXPECT_TRUE(listed);
  box = call("PATCH", "/v1/sandboxes/" + id, {{"name", "two"}, {"budget", nullptr}});
  EXPECT_EQ(box["name"], "two");
  EXPECT_TRUE(box["budget"].is_null());
  call("DELETE", "/v1/sandboxes/" + id);
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["status"], "destroyed");
  for (const auto& row : call("GET", "/v1/sandboxes")) EXPECT_NE(row["id"], id);
  EXPECT_EQ(refused("DELETE", "/v1/sandboxes/" + id).reason, "sandbox_destroyed");
  EXPECT_EQ(refused("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "true"}}).reason, "sandbox_destroyed");
}

TEST_F(Lifecycle, BadInputIsRefusedWithThePlace) {
  EXPECT_EQ(refused("GET", "/v1/sandboxes/cage-nosuch").code, errc::not_found);
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"cpus", "two"}}).path, "/cpus");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"cpus", 99}}).path, "/cpus");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"timeout", -1}}).path, "/timeout");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"memory_mbb", 512}}).path, "/memory_mbb");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"template", "hots"}}).path, "/template");
  http::client_request r;
  r.method = "POST";
  r.target = "/v1/sandboxes";
  r.fields = {{"content-type", "application/json"}};
  for (const char* body : {"{", " ", "[]", "{\"cpus\":1,\"cpus\":2}", "\xff\xfe", "nul"}) {
    r.body = body;
    const auto answer = raw(r);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.field("content-type"), "application/problem+json") << body;
  }
  r.body = std::string(8 << 20, ' ');
  EXPECT_EQ(raw(r).status, 413);
  r.body = "{}";
  r.fields = {{"content-type", "text/plain"}};
  EXPECT_EQ(raw(r).status, 415);
}

TEST_F(Lifecycle, EveryRouteAnswersProblemJsonToTheUnknown) {
  for (const char* target : {"/nothing", "/v1", "/v1/sandboxes/x/y/z", "/v2/sandboxes"}) {
    http::client_request r;
    r.target = target;
    r.fields = {{"accept", "text/html"}};
    const auto answer = raw(r);
    EXPECT_EQ(answer.status, 404) << target;
    EXPECT_EQ(answer.field("content-type"), "application/problem+json");
    EXPECT_TRUE(json::accept(answer.body));
  }
}

TEST_F(Lifecycle, InitScriptIsDoneWhenCreateReturns) {
  const std::string id = make({{"init_script", "echo made > /workspace/proof; echo said; echo warned >&2"}});
  EXPECT_EQ(exec(id, "cat /workspace/proof")["stdout"], "made\n");
  bool told = false;
  for (const auto& line : call("GET", "/v1/sandboxes/" + id + "/logs?tail=50"))
    told |= line.value("stdout", "") == "said\n" && line.value("stderr", "") == "warned\n";
  EXPECT_TRUE(told);
}

TEST_F(Lifecycle, AFailingInitScriptIsTheAnswersError) {
  const error e = refused("POST", "/v1/sandboxes", {{"init_script", "echo because >&2; exit 9"}, {"wait", true}});
  EXPECT_EQ(e.reason, "init_script_failed");
  EXPECT_NE(e.message.find("because"), std::string::npos);
}

TEST_F(Lifecycle, ALongSetUpAnswersPendingAndGoesOn) {
  const auto start = std::chrono::steady_clock::now();
  const json box = call("POST", "/v1/sandboxes", {{"init_script", "sleep 2; touch /workspace/late"}});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1900));
  EXPECT_EQ(box["status"], "pending");
  const std::string id = box["id"].get<std::string>();
  made.push_back(id);
  EXPECT_TRUE(eventually([&] { return call("GET", "/v1/sandboxes/" + id)["status"] == "running"; }));
  EXPECT_EQ(exec(id, "test -e /workspace/late")["exit_code"], 0);
}

TEST_F(Lifecycle, ARepositoryByPathComesWithUncommittedWorkAndChangesAreCounted) {
  const fs::path repo = temporary_folder();
  ASSERT_EQ(
      system(
          ("cd " + repo.string() +
           " && git init -q -b main && echo a > a.txt && mkdir d && echo b > d/b.txt && ln -s a.txt link && git add -A"
           " && git -c user.email=t@e -c user.name=t commit -qm one && echo new > new.txt")
              .c_str()),
      0);
  const std::string id = make({{"repo", repo.string()}});
  EXPECT_EQ(exec(id, "cat a.txt d/b.txt new.txt link")["stdout"], "a\nb\nnew\na\n");
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id + "/changes")["counts"],
            (json{{"created", 0}, {"modified", 0}, {"deleted", 0}}));
  EXPECT_EQ(exec(id, "echo more >> a.txt; rm d/b.txt; echo x > made.txt; git status --porcelain")["exit_code"], 0);
  const json changes = call("GET", "/v1/sandboxes/" + id + "/changes");
  const auto has = [&changes](const char* kind, const std::string& path) {
    for (const auto& row : changes[kind])
      if (row["path"] == path) return true;
    return false;
  };
  EXPECT_TRUE(has("created", "/workspace/made.txt")) << changes.dump(1);
  EXPECT_TRUE(has("modified", "/workspace/a.txt"));
  EXPECT_TRUE(has("deleted", "/workspace/d/b.txt"));
  const json diff = call("GET", "/v1/sandboxes/" + id + "/git/diff");
  EXPECT_NE(diff["diff"].get<std::string>().find("+more"), std::string::npos);
  // The host's folder is as it was.
  EXPECT_EQ(
      system(
          ("cd " + repo.string() + " && test \"$(cat a.txt)\" = a && test -e d/b.txt && test ! -e made.txt").c_str()),
      0);
  fs::remove_all(repo);
}

TEST_F(Lifecycle, MetricsCountWhatRan) {
  const std::string id = make();
  exec(id, "head -c 20000000 /dev/zero | sha256sum > /dev/null; for i in 1 2 3 4 5; do true & done; wait");
  const json m = call("GET", "/v1/sandboxes/" + id + "/metrics");
  EXPECT_GT(m["cpu_user_ms"].get<double>() + m["cpu_system_ms"].get<double>(), 0);
  EXPECT_GT(m["memory_peak_bytes"].get<double>(), 0);
  EXPECT_GE(m["tasks_started"].get<int>(), 7);
}

TEST_F(Lifecycle, MemoryLimitEndsTheCommandNotTheServer) {
  const std::string id = make({{"memory_mb", 64}});
  const json done = exec(id, "python3 -c 'x=bytearray(300<<20)' 2>&1; exit $?");
  EXPECT_NE(done["exit_code"], 0) << done.dump();
  EXPECT_EQ(exec(id, "echo still here")["stdout"], "still here\n");
}

TEST_F(Lifecycle, PausedSandboxesRefuseAndResume) {
  const std::string id = make();
  auto paused = http.call("POST", "/v1/sandboxes/" + id + "/pause");
  if (!paused) {
    EXPECT_EQ(paused.error().code, errc::unsupported);
    return;
  }
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["status"], "paused");
  EXPECT_EQ(refused("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "true"}}).reason, "sandbox_not_running");
  EXPECT_EQ(refused("POST", "/v1/sandboxes/" + id + "/pause").code, errc::conflict);
  call("POST", "/v1/sandboxes/" + id + "/resume");
  EXPECT_EQ(exec(id, "echo back")["stdout"], "back\n");
}

TEST_F(Lifecycle, IdleSandboxesArePausedOrToldAbout) {
  const std::string id = make({{"timeout", 1}});
  EXPECT_TRUE(eventually([&] {
    if (call("GET", "/v1/sandboxes/" + id)["status"] == "paused") return true;
    for (const auto& line : call("GET", "/v1/sandboxes/" + id + "/logs"))
      if (line["message"].get<std::string>().find("could not be paused") != std::string::npos) return true;
    return false;
  }));
}

TEST_F(Lifecycle, ABudgetEndsTheSandbox) {
  // The smallest budget there is: some milliseconds of computing.
  const std::string id = make({{"budget", 0.000001}});
  EXPECT_TRUE(eventually([&] { return call("GET", "/v1/sandboxes/" + id)["status"] == "destroyed"; }));
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["ended_reason"], "budget_exceeded");
}

TEST_F(Lifecycle, TwoSandboxesDoNotSeeEachOther) {
  const std::string a = make(), b = make();
  exec(a, "echo secret > /workspace/s; echo secret > /tmp/s; sleep 1000 &", {{"background", true}});
  EXPECT_EQ(exec(b, "ls /workspace /tmp; pgrep sleep")["stdout"].get<std::string>().find("s\n", 12), std::string::npos);
  EXPECT_NE(exec(b, "cat /tmp/s")["exit_code"], 0);
}

}  // namespace
}  // namespace caged::testing
