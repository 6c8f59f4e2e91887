// A box that takes all it can gets what it was given, and its neighbour does not notice.
#include "support.hpp"

#include <algorithm>
#include <thread>

namespace caged::vmm::jail::testing {
namespace {

using namespace std::chrono_literals;
using milliseconds = std::chrono::duration<double, std::milli>;

struct greedy {
  const char* name;
  const char* wall;
  const char* command;
};

constexpr greedy table[] = {
    {"fork bomb", "cgroup.pids", "f() { f | f & }; f; sleep 1"},
    {"memory bomb", "cgroup.memory", "python3 -c 'x=[bytearray(1<<20) for _ in range(100000)]'"},
    {"descriptor exhaustion", "rlimit", "python3 -c 'import os\ntry:\n  while True: os.dup(0)\nexcept OSError: pass'"},
    {"zombie farm", "cgroup.pids",
     "python3 -c 'import os,time\ntry:\n  while True:\n    if os.fork()==0: os._exit(0)\nexcept OSError: "
     "pass\ntime.sleep(0.5)'"},
    {"busy processors", "cgroup.cpu", "for i in 1 2 3 4; do (while :; do :; done) & done; sleep 1; kill $(jobs -p)"},
    {"flood of output", "agent", "timeout 1 yes > /dev/null; head -c 20000000 /dev/zero | tr '\\0' x"},
    {"many small files", "evidence", "i=0; while [ $i -lt 5000 ]; do : > /tmp/f$i; i=$((i+1)); done"},
    {"flood of executions", "evidence", "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done"},
    {"terminals", "mount", "python3 -c 'import os\ntry:\n  while True: os.openpty()\nexcept OSError: pass'"},
    {"shared memory fill", "cgroup.memory", "head -c 1000000000 /dev/zero > /dev/shm/fill 2>/dev/null; true"},
};

class jail_resources : public shared_jail {
 protected:
  // The slowest of `count` commands in the neighbour.
  static milliseconds slowest(int count) {
    milliseconds worst{0};
    for (int i = 0; i < count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_EQ(output("neighbour", "echo ok"), "ok\n");
      worst = std::max<milliseconds>(worst, std::chrono::steady_clock::now() - start);
    }
    return worst;
  }
};

TEST_F(jail_resources, a_greedy_box_is_held_and_its_neighbour_works_on) {
  box_spec small = small_box("neighbour");
  make(small);
  for (const auto& g : table) {
    box_spec spec = small_box("greedy");
    spec.cpus = 0.5;
    make(spec);
    const auto quiet = slowest(20);
    result<command_result> outcome;
    std::thread attack([&] { outcome = run_in(*host_, *jail_, "greedy", g.command, 20s); });
    std::this_thread::sleep_for(50ms);
    const auto meanwhile = slowest(20);
    attack.join();
    // Five times its quiet value; a machine that others use as well is allowed a moment of its own.
    const auto allowed = std::max<milliseconds>(5 * quiet, 500ms);
    std::printf("  %-22s|%-14s|neighbour's slowest: quiet %.1f ms, meanwhile %.1f ms\n", g.name, g.wall, quiet.count(),
                meanwhile.count());
    EXPECT_LE(meanwhile, allowed) << g.name;
    ASSERT_TRUE(host_->await(jail_->destroy("greedy"))) << g.name;
    EXPECT_EQ(output("neighbour", "echo alive"), "alive\n") << g.name;
  }
}

TEST_F(jail_resources, a_box_that_runs_out_of_memory_says_so) {
  if (::geteuid() != 0) return;  // without a cgroup of its own there is nobody to count
  make(small_box("hungry"));
  output("hungry", "python3 -c 'x=[bytearray(1<<20) for _ in range(100000)]'");
  auto usage = host_->await(jail_->usage("hungry"));
  ASSERT_TRUE(usage);
  EXPECT_GE(usage->oom_kills.value_or(0), 1u);
}

// What one box leaves in places that look shared is not there for another.
TEST_F(jail_resources, neighbours_share_no_place_to_meet) {
  make(small_box("one"));
  make(small_box("two"));
  EXPECT_EQ(output("one", "for d in /tmp /dev/shm /run /var/tmp /workspace; do echo x > $d/met; done; echo left"),
            "left\n");
  EXPECT_EQ(output("two", "ls /tmp/met /dev/shm/met /run/met /var/tmp/met /workspace/met 2>/dev/null; echo none"),
            "none\n");
  // An abstract socket that hands out descriptors cannot be reached from next door.
  const std::string serve =
      "python3 -c 'import socket,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(\"\\0met\")\ns.listen()\ntime.sleep(2)' "
      "& sleep 0.3; echo serving";
  EXPECT_EQ(output("one", serve).substr(0, 7), "serving");
  EXPECT_EQ(output("two",
                   "python3 -c 'import socket\ns=socket.socket(socket.AF_UNIX)\ntry:\n  s.connect(\"\\0met\"); "
                   "print(\"met\")\nexcept OSError: print(\"alone\")'"),
            "alone\n");
}

// Names that a hostile archive holds do not leave the box, and links that are exchanged meanwhile lead nowhere else.
TEST_F(jail_resources, archives_and_exchanged_links_stay_inside) {
  const auto outside = host_->data_dir() / "outside";
  std::filesystem::create_directories(outside);
  make(small_box("links"));
  output("links",
         "ln -s " + outside.string() +
             " /workspace/out; echo x > /workspace/out/evil 2>/dev/null; "
             "python3 -c 'import tarfile,io\nt=tarfile.open(\"/tmp/e.tar\",\"w\")\nfor n in (\"../../../../../../" +
             outside.string() + "/evil\",\"" + outside.string() +
             "/evil2\"):\n  i=tarfile.TarInfo(n); i.size=1; t.addfile(i,io.BytesIO(b\"x\"))\nt.close()'; tar -xPf "
             "/tmp/e.tar -C /workspace");
  EXPECT_TRUE(std::filesystem::is_empty(outside));
  std::thread racer([&] {
    (void)run_in(
        *host_, *jail_, "links",
        "cd /workspace; i=0; while [ $i -lt 400 ]; do rm -rf r; mkdir r; rm -rf r; ln -s / r; i=$((i+1)); done", 20s);
  });
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(host_->await(jail_->changes("links")));
    ASSERT_TRUE(host_->await(jail_->usage("links")));
  }
  racer.join();
  EXPECT_TRUE(std::filesystem::is_empty(outside));
}

}  // namespace
}  // namespace caged::vmm::jail::testing
