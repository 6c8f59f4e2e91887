// The same boxes, made by an ordinary user: runs this program again as one.
#include "support.hpp"

namespace caged::vmm::jail::testing {
namespace {

TEST(jail_ordinary_user, makes_boxes_too) {
  if (::geteuid() != 0)
    GTEST_SKIP() << "NOT RUN: only root can become an ordinary user; the other tests run as one already";
  EXPECT_EQ(run_as_ordinary_user("jail_box.*:jail_adopt.*:jail_evidence.*:jail_gate.*:jail_warm.*"), "");
}

}  // namespace
}  // namespace caged::vmm::jail::testing
