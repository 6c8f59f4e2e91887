// What happens in a box is told by the host: completely, in words that the box cannot choose.
#include "support.hpp"

#include <signal.h>
#include <fstream>

namespace caged::vmm::jail::testing {
namespace {

// The facts about programs whose first argument word ends in `name`, once each has its end.
std::vector<event> ends_of(test_host& host, const std::string& sandbox, const std::string& name,
                           std::size_t count = 1) {
  return host.facts(
      [&](const event& e) {
        return e.sandbox_id == sandbox && e.type == "command" && e.data.value("source", "") == "exec" &&
               e.data.value("phase", "") == "finished" && e.data.value("path", "").ends_with(name);
      },
      count);
}

class jail_evidence : public shared_jail {};

TEST_F(jail_evidence, tells_each_program_with_arguments_place_parent_and_end) {
  make(small_box("seen"));
  EXPECT_EQ(output("seen", "cd /tmp && /usr/bin/head -c 0 /dev/null 'a b' >/dev/null 2>&1; sh -c 'exit 7'; echo done"),
            "done\n");
  auto heads = ends_of(*host_, "seen", "/head");
  ASSERT_EQ(heads.size(), 1u);
  const json& d = heads[0].data;
  EXPECT_EQ(d["argv"], json({"/usr/bin/head", "-c", "0", "/dev/null", "a b"}));
  EXPECT_EQ(d["path"], "/usr/bin/head");
  EXPECT_EQ(d["cwd"], "/tmp");
  EXPECT_EQ(d["uid"], 0);
  EXPECT_EQ(d["exit_code"], 1) << "it could not read 'a b'";
  EXPECT_GT(d["pid"].get<int>(), 1);
  EXPECT_TRUE(d["ancestors"][0].get<std::string>().ends_with("/sh")) << d["ancestors"];
  auto shells = ends_of(*host_, "seen", "/sh", 2);
  const auto seven =
      std::find_if(shells.begin(), shells.end(), [](const event& e) { return e.data.value("exit_code", -1) == 7; });
  ASSERT_NE(seven, shells.end());
  EXPECT_EQ(seven->data["ppid"], d["ppid"]);
}

TEST_F(jail_evidence, tells_a_signal_an_exchange_of_programs_and_a_descriptor_that_is_executed) {
  make(small_box("ways"));
  output("ways",
         "sh -c 'kill -9 $$'; sh -c 'exec /usr/bin/env true'; python3 -c 'import os; "
         "os.execve(os.open(\"/usr/bin/id\", os.O_RDONLY), [\"id\"], {})'");
  auto shells = ends_of(*host_, "ways", "/sh", 2);
  EXPECT_TRUE(
      std::any_of(shells.begin(), shells.end(), [](const event& e) { return e.data.value("signal", 0) == SIGKILL; }));
  EXPECT_TRUE(std::any_of(shells.begin(), shells.end(), [](const event& e) { return e.data.value("replaced", false); }))
      << "sh became env";
  EXPECT_EQ(ends_of(*host_, "ways", "/true").size(), 1u);
  EXPECT_EQ(ends_of(*host_, "ways", "/usr/bin/id").size(), 1u) << "execveat with an empty path";
}

TEST_F(jail_evidence, a_program_that_is_not_there_is_no_execution) {
  make(small_box("absent"));
  EXPECT_EQ(output("absent", "/workspace/nothing 2>/dev/null; echo $?"), "127\n");
  EXPECT_EQ(output("absent", "PATH=/nowhere:/usr/bin ls -d /"), "/\n");
  ASSERT_EQ(ends_of(*host_, "absent", "/ls").size(), 1u);
  const auto seen = host_->facts(
      [](const event& e) {
        return e.sandbox_id == "absent" && e.data.value("path", "").find("no") != std::string::npos;
      },
      0);
  EXPECT_TRUE(seen.empty());
}

TEST_F(jail_evidence, arguments_beyond_all_measure_are_cut_and_said_to_be) {
  make(small_box("long"));
  output(
      "long",
      "/bin/echo $(head -c 100000 /dev/zero | tr '\\0' x) > /dev/null; printf '\\377' | xargs -0 /usr/bin/expr length");
  auto echoes = ends_of(*host_, "long", "/echo");
  ASSERT_EQ(echoes.size(), 1u);
  EXPECT_EQ(echoes[0].data.value("truncated", false), true);
  EXPECT_LE(to_text(echoes[0].data).size(), 20000u);
  ASSERT_EQ(ends_of(*host_, "long", "/expr").size(), 1u) << "bytes that are no UTF-8 do not lose the fact";
}

TEST_F(jail_evidence, a_long_run_is_told_when_it_starts_and_when_it_ends) {
  make(small_box("slow"));
  output("slow", "sleep 0.6");
  auto both = host_->facts(
      [](const event& e) { return e.sandbox_id == "slow" && e.data.value("path", "").ends_with("/sleep"); }, 2);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].data["phase"], "started");
  EXPECT_EQ(both[1].data["phase"], "finished");
  EXPECT_FALSE(both[1].data.contains("argv")) << "told once";
  EXPECT_GT(both[1].duration_us, 500000);
}

std::vector<event> file_facts(test_host& host, const std::string& sandbox, const std::string& operation,
                              const std::string& path, std::size_t count = 1) {
  return host.facts(
      [&](const event& e) {
        return e.sandbox_id == sandbox && e.type == "file_op" && e.data.value("operation", "") == operation &&
               e.data.value("path", "") == path;
      },
      count);
}

TEST_F(jail_evidence, tells_what_happens_to_files) {
  make(small_box("files"));
  output("files",
         "mkdir /workspace/d; echo one > /workspace/d/a; echo two > /workspace/b; rm -f /usr/bin/yes; echo x >> "
         "/etc/hosts");
  EXPECT_EQ(file_facts(*host_, "files", "mkdir", "/workspace/d").size(), 1u);
  EXPECT_EQ(file_facts(*host_, "files", "create", "/workspace/d/a").size(), 1u);
  EXPECT_EQ(file_facts(*host_, "files", "write", "/etc/hosts").size(), 1u);
  const auto gone = file_facts(*host_, "files", "delete", "/usr/bin/yes");
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].data["preexisting"], true);
  output("files", "mv /workspace/b /workspace/c; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
  const auto moved = file_facts(*host_, "files", "rename", "/workspace/b");
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_EQ(moved[0].data["target"], "/workspace/c");
}

TEST_F(jail_evidence, tells_who_opens_what_is_sensitive_and_what_was_written_and_taken_away) {
  if (::geteuid() != 0) return;  // an ordinary user's host has the comparison alone, which its facts say
  make(small_box("reads"));
  output("reads", "/bin/cat /etc/passwd > /dev/null; echo x > /tmp/short; rm /tmp/short");
  const auto read = file_facts(*host_, "reads", "read", "/etc/passwd");
  ASSERT_GE(read.size(), 1u);
  EXPECT_EQ(read[0].data["witness"], "fanotify");
  // One look finds it written and gone, or two find it come and go.
  EXPECT_GE(
      host_->facts([](const event& e) { return e.sandbox_id == "reads" && e.data.value("path", "") == "/tmp/short"; })
          .size(),
      1u);
}

TEST_F(jail_evidence, many_files_are_counted_not_dropped) {
  make(small_box("many"));
  output("many", "cd /workspace; i=0; while [ $i -lt 3000 ]; do : > f$i; i=$((i+1)); done");
  std::uint64_t told = 0;
  for (int i = 0; i < 100 && told < 3000; ++i) {
    told = 0;
    for (const auto& e : host_->facts(
             [](const event& f) { return f.sandbox_id == "many" && f.data.value("operation", "") == "create"; }))
      told += e.data.value("coalesced", "") == "folder" ? e.data["count"].get<std::uint64_t>() : 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(told, 3000u);
}

// The witness is killed while programs run: the box goes on, and what runs later is seen again.
TEST_F(jail_evidence, survives_the_death_of_the_witness) {
  make(small_box("witness"));
  ASSERT_EQ(output("witness", "/bin/true; echo ok"), "ok\n");
  for (int round = 0; round < 5; ++round) {
    const auto pid = witness_of(host_->data_dir());
    ASSERT_GT(pid, 1);
    std::jthread killer([pid, round] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5 * round));
      ::kill(pid, SIGKILL);
    });
    ASSERT_EQ(output("witness", "i=0; while [ $i -lt 60 ]; do /bin/true || exit 1; i=$((i+1)); done; echo ok"), "ok\n")
        << "round " << round;
    killer.join();
    ASSERT_EQ(output("witness", "/usr/bin/env > /dev/null; echo ok"), "ok\n");
    ASSERT_GE(ends_of(*host_, "witness", "/env", static_cast<std::size_t>(round) + 1).size(),
              static_cast<std::size_t>(round) + 1)
        << host_->logged();
  }
}

// The host is killed: the box runs on, and the next host tells what happened meanwhile.
TEST(jail_evidence_restart, what_happens_while_no_host_runs_is_told_by_the_next) {
  test_host folder;
  const std::string program = std::string(CAGED_BUILD_DIR) + "/tests/caged-jail-test-host";
  {
    child_program first({program, folder.data_dir().string(), "stay"});
    ASSERT_TRUE(first.wait_ready());
    first.kill_hard();
  }
  test_host host(folder.data_dir());
  backend jail(host, test_config());
  ASSERT_TRUE(host.await(jail.open()));
  auto adopted = host.await(jail.adopt({"stay"}));
  ASSERT_TRUE(adopted && adopted->size() == 1) << host.logged();
  auto r = run_in(host, jail, "stay", "/usr/bin/env > /dev/null; echo ok");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->output, "ok\n");
  EXPECT_EQ(ends_of(host, "stay", "/env").size(), 1u);
  ASSERT_TRUE(host.await(jail.destroy("stay")));
  ASSERT_TRUE(host.await(jail.close()));
}

// Without host and witness nobody answers: such a box is not taken for a living one.
TEST(jail_evidence_restart, a_box_that_nobody_observes_any_more_is_not_kept) {
  test_host folder;
  const std::string program = std::string(CAGED_BUILD_DIR) + "/tests/caged-jail-test-host";
  {
    child_program first({program, folder.data_dir().string(), "blind"});
    ASSERT_TRUE(first.wait_ready());
    const auto pid = witness_of(folder.data_dir());
    ASSERT_GT(pid, 1);
    first.kill_hard();
    ::kill(pid, SIGKILL);
  }
  test_host host(folder.data_dir());
  backend jail(host, test_config());
  ASSERT_TRUE(host.await(jail.open()));
  auto adopted = host.await(jail.adopt({"blind"}));
  ASSERT_TRUE(adopted);
  EXPECT_TRUE(adopted->empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder.data_dir() / "boxes")) << host.logged();
  ASSERT_TRUE(host.await(jail.close()));
}

}  // namespace
}  // namespace caged::vmm::jail::testing
