// Boxes: made, spoken to, watched, compared, paused, destroyed. Runs as root and as an ordinary user.
#include "support.hpp"

#include <fstream>

namespace caged::vmm::jail::testing {
namespace {

class jail_box : public shared_jail {
 protected:
  static std::string refusal(box_spec spec) {
    auto made = host_->await(jail_->make(spec));
    if (made) made_.push_back(spec.id);
    return made ? std::string("made") : made.error().reason;
  }
  static std::filesystem::path folder(const std::string& id) { return host_->data_dir() / "boxes" / id; }
};

TEST_F(jail_box, refuses_what_it_cannot_honour_and_leaves_nothing) {
  const auto before = count_leftovers(host_->data_dir());
  for (const char* id : {"", "../x", "a/b", "-a", ".", "a b", "ä"}) {
    box_spec spec = small_box(id);
    EXPECT_EQ(refusal(spec), "invalid_input") << id;
  }
  box_spec spec = small_box("bad");
  spec.image = "nope";
  EXPECT_EQ(refusal(spec), "unknown_template");
  spec = small_box("bad");
  spec.memory_bytes = 1;
  EXPECT_EQ(refusal(spec), "invalid_input");
  spec = small_box("bad");
  spec.cpus = -1;
  EXPECT_EQ(refusal(spec), "invalid_input");
  spec = small_box("bad");
  spec.env["STAND_IN"] = "die";
  EXPECT_EQ(refusal(spec), "agent_failed");
  EXPECT_EQ(count_leftovers(host_->data_dir()), before);
}

TEST_F(jail_box, knows_no_box_that_it_did_not_make) {
  EXPECT_EQ(host_->await(jail_->usage("nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(jail_->destroy("nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(jail_->wait("nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(jail_->connect("nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(jail_->changes("../nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(jail_->snapshot("nobody", "s", 1)).error().code, errc::not_found);
}

TEST_F(jail_box, gives_up_on_an_agent_that_does_not_start) {
  test_host host;
  backend impatient(host, test_config({{"start_timeout_ms", 300}}));
  ASSERT_TRUE(host.await(impatient.open()));
  const auto before = count_leftovers(host.data_dir());
  box_spec spec = small_box("slow");
  spec.env["STAND_IN"] = "hang";
  auto made = host.await(impatient.make(spec));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, "agent_timeout");
  EXPECT_EQ(count_leftovers(host.data_dir()), before);
  ASSERT_TRUE(host.await(impatient.close()));
}

TEST_F(jail_box, runs_commands_as_root_inside) {
  const box_info info = make(small_box("one"));
  EXPECT_GT(info.pid, 1);
  EXPECT_EQ(output("one", "id -u; hostname; pwd; cat /etc/hostname"), "0\none\n/workspace\none\n");
  EXPECT_EQ(output("one", "echo 1 > /workspace/f && echo 2 >> /workspace/f && cat /workspace/f"), "1\n2\n");
  EXPECT_EQ(output("one",
                   "echo x > /usr/local/bin/own && echo y > /etc/own && rm /usr/bin/env && ls /usr/bin/env 2>&1 | wc "
                   "-l && cat /usr/local/bin/own /etc/own"),
            "1\nx\ny\n");
  EXPECT_TRUE(std::filesystem::exists("/usr/bin/env")) << "the host's file is untouched";
  EXPECT_EQ(output("one",
                   "mkdir /workspace/a /workspace/b && touch /workspace/a/f && mv /workspace/a/f /workspace/b/ && ln "
                   "/workspace/b/f /workspace/a/g && ls /workspace/a /workspace/b"),
            "/workspace/a:\ng\n\n/workspace/b:\nf\n");
  EXPECT_EQ(output("one",
                   "echo quiet >/dev/null; head -c 4 /dev/urandom | wc -c; python3 -c 'print(1+1)'; git --version "
                   ">/dev/null && echo git"),
            "4\n2\ngit\n");
  EXPECT_EQ(refusal(small_box("one")), "sandbox_exists");
}

TEST_F(jail_box, takes_several_connections) {
  make(small_box("many"));
  std::vector<box_stream> open;
  for (int i = 0; i < 20; ++i) {
    auto s = host_->await(jail_->connect("many"));
    ASSERT_TRUE(s) << describe(s.error());
    open.push_back(std::move(*s));
  }
  EXPECT_EQ(output("many", "echo here"), "here\n");
}

TEST_F(jail_box, says_how_a_box_ended) {
  make(small_box("ends"));
  auto usage = host_->await(jail_->usage("ends"));
  ASSERT_TRUE(usage);
  (void)run_in(*host_, *jail_, "ends", "kill -9 1; kill -TERM 1; true");
  EXPECT_EQ(output("ends", "echo alive"), "alive\n") << "the first process ignores what it does not handle";
  EXPECT_TRUE(host_->await(jail_->destroy("ends")));
  EXPECT_TRUE(host_->await(jail_->destroy("ends"))) << "again";
  EXPECT_EQ(host_->await(jail_->connect("ends")).error().code, errc::not_found);
}

TEST_F(jail_box, completes_wait_when_the_box_is_killed_from_outside) {
  const box_info info = make(small_box("dies"));
  auto ended = asio::co_spawn(host_->executor(), jail_->wait("dies"), asio::use_future);
  ASSERT_EQ(::kill(static_cast<pid_t>(info.pid), SIGKILL), 0);
  ASSERT_EQ(ended.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  auto end = ended.get();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->reason, "killed");
  EXPECT_TRUE(end->waited);
  EXPECT_EQ(WTERMSIG(end->status), SIGKILL);
  EXPECT_EQ(host_->await(jail_->connect("dies")).error().reason, "sandbox_lost");
}

TEST_F(jail_box, lists_what_changed_as_seen_from_the_host) {
  make(small_box("diff"));
  EXPECT_TRUE(host_->await(jail_->changes("diff"))->empty()) << "a new box has changed nothing";
  (void)run_in(*host_, *jail_, "diff",
               "echo a > new; mkdir d; echo b > d/in; rm /usr/bin/env; echo c >> /etc/profile; ln -s /etc/shadow link; "
               "echo t > /usr/local/t; rm /usr/local/t");
  std::map<std::string, box_change::kind> seen;
  for (const auto& c : *host_->await(jail_->changes("diff"))) seen[c.path] = c.what;
  using kind = box_change::kind;
  const std::map<std::string, kind> expected{{"/etc/profile", kind::modified},   {"/usr/bin/env", kind::deleted},
                                             {"/workspace/d", kind::created},    {"/workspace/d/in", kind::created},
                                             {"/workspace/link", kind::created}, {"/workspace/new", kind::created}};
  EXPECT_EQ(seen, expected);
  ASSERT_TRUE(host_->await(jail_->mark_files("diff")));
  EXPECT_TRUE(host_->await(jail_->changes("diff"))->empty());
  // Same size and a restored modification time do not hide a change.
  (void)run_in(*host_, *jail_, "diff", "touch -r new stamp; echo z > new; touch -r stamp new; rm d/in; rm stamp");
  seen.clear();
  for (const auto& c : *host_->await(jail_->changes("diff"))) seen[c.path] = c.what;
  const std::map<std::string, kind> second{{"/workspace/d/in", kind::deleted}, {"/workspace/new", kind::modified}};
  EXPECT_EQ(seen, second);
}

TEST_F(jail_box, removes_what_is_made_to_resist) {
  make(small_box("mess"));
  EXPECT_EQ(output("mess",
                   "mkdir -p shut/in && touch shut/in/f && chmod 000 shut/in shut; mkfifo pipe; ln -s / loop; touch -- "
                   "'-rf' \"$(printf 'a\\nb')\"; "
                   "python3 -c \"import os\nfor i in range(600):\n os.mkdir('dddddddd'); os.chdir('dddddddd')\" && seq "
                   "1000 | xargs touch; echo made"),
            "made\n");
  const auto path = folder("mess");
  ASSERT_TRUE(std::filesystem::exists(path));
  auto gone = host_->await(jail_->destroy("mess"));
  EXPECT_TRUE(gone) << describe(gone.error());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::is_empty(host_->data_dir() / "trash"));
}

TEST_F(jail_box, keeps_two_boxes_apart) {
  make(small_box("left"));
  make(small_box("right"));
  (void)run_in(
      *host_, *jail_, "left",
      "echo secret > /tmp/s; echo secret > /workspace/s; (sleep 1000 >/dev/null 2>&1 &) ; echo x > /dev/shm/s");
  EXPECT_EQ(output("right", "ls /tmp /workspace /dev/shm | grep -c s$; ps ax 2>/dev/null | grep -c '[s]leep 1000'"),
            "0\n0\n");
}

TEST_F(jail_box, leaves_nothing_behind_after_many_boxes) {
  make(small_box("warm"));
  EXPECT_EQ(output("warm", "echo ok"), "ok\n");  // the loop makes its timer and so on at the first use
  ASSERT_TRUE(host_->await(jail_->destroy("warm")));
  const auto before = count_leftovers(host_->data_dir());
  const auto start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration making{};
  // The long form is the promise: ten thousand in a row.
  const int boxes = std::getenv("CAGED_SOAK_MINUTES") != nullptr ? 10'000 : 50;
  for (int i = 0; i < boxes; ++i) {
    const std::string id = "box" + std::to_string(i);
    const auto t = std::chrono::steady_clock::now();
    make(small_box(id));
    if (i % 10 == 0) {
      EXPECT_EQ(output(id, "(setsid sleep 100 >/dev/null 2>&1 &); echo ok"), "ok\n");
    }
    making += std::chrono::steady_clock::now() - t;
    ASSERT_TRUE(host_->await(jail_->destroy(id)));
  }
  EXPECT_EQ(count_leftovers(host_->data_dir()), before);
  const auto ms = [](auto d) { return std::chrono::duration_cast<std::chrono::microseconds>(d).count() / 1000.0; };
  std::printf("make: %.2f ms each; make and destroy: %.2f ms each\n", ms(making) / boxes,
              ms(std::chrono::steady_clock::now() - start) / boxes);
}

TEST_F(jail_box, says_what_the_machine_gives) {
  auto probes = host_->await(jail_->probe_machine());
  ASSERT_TRUE(probes);
  for (const auto& p : *probes) {
    EXPECT_FALSE(p.name.empty());
    EXPECT_FALSE(p.found.empty()) << p.name;
    EXPECT_FALSE(p.remedy.empty()) << p.name;
    const bool promised = ::geteuid() == 0 || p.name == "userns" || p.name == "seccomp";
    EXPECT_TRUE(p.available || !promised) << p.name << ": " << p.found;
  }
}

}  // namespace
}  // namespace caged::vmm::jail::testing
