// Boxes as root: made, spoken to, limited, destroyed.
#include "support.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace caged::vmm::jail::testing {
namespace {

class jail_box : public ::testing::Test {
 protected:
  void SetUp() override {
    jail_ = std::make_unique<backend>(host_, test_config());
    auto opened = host_.await(jail_->open());
    ASSERT_TRUE(opened) << describe(opened.error());
  }
  void TearDown() override {
    for (const auto& id : made_) (void)host_.await(jail_->destroy(id));
    (void)host_.await(jail_->close());
  }
  box_info make(box_spec spec) {
    made_.push_back(spec.id);
    auto made = host_.await(jail_->make(spec));
    if (!made) throw std::runtime_error(describe(made.error()));
    return *made;
  }
  std::string output(const std::string& id, const std::string& command) {
    auto r = run_in(host_, *jail_, id, command);
    return r ? r->output : "FAILED " + describe(r.error());
  }

  test_host host_;
  std::unique_ptr<backend> jail_;
  std::vector<std::string> made_;
};

TEST_F(jail_box, refuses_what_it_cannot_honour_and_leaves_nothing) {
  const auto before = count_leftovers(host_.data_dir());
  const auto refusal = [this](box_spec spec) {
    auto made = host_.await(jail_->make(spec));
    return made ? std::string("made") : made.error().reason;
  };
  box_spec spec = small_box("bad");
  spec.id = "../x";
  EXPECT_EQ(refusal(spec), "invalid_input");
  spec.id = "";
  EXPECT_EQ(refusal(spec), "invalid_input");
  spec = small_box("bad");
  spec.image = "nope";
  EXPECT_EQ(refusal(spec), "unknown_template");
  spec = small_box("bad");
  spec.network_mode = "full";
  EXPECT_EQ(refusal(spec), "network_mode_unsupported");
  spec = small_box("bad");
  spec.memory_bytes = 1;
  EXPECT_EQ(refusal(spec), "invalid_input");
  spec = small_box("bad");
  spec.env["STAND_IN"] = "die";
  EXPECT_EQ(refusal(spec), "agent_failed");
  EXPECT_EQ(count_leftovers(host_.data_dir()), before);
}

TEST_F(jail_box, runs_a_command_as_root_inside) {
  const box_info info = make(small_box("one"));
  EXPECT_GT(info.pid, 1);
  EXPECT_EQ(output("one", "id -u; hostname; pwd; echo $$ | grep -c ."), "0\none\n/workspace\n1\n");
  auto again = host_.await(jail_->make(small_box("one")));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason, "sandbox_exists");
}

}  // namespace
}  // namespace caged::vmm::jail::testing
