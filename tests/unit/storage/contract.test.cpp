// The contract of the storage kind, against SQLite.
#include <gtest/gtest.h>

#include "tests/unit/storage/world.hpp"

namespace caged::testing {
namespace {

class contract : public ::testing::TestWithParam<std::tuple<storage_check, std::size_t>> {};

TEST_P(contract, holds) {
  const auto [check, threads] = GetParam();
  folder dir;
  loop l(threads);
  auto current = std::make_unique<opened_storage>(l, settings_in(dir.path()));
  ASSERT_TRUE(current->opened) << describe(current->opened.error());
  storage_probe probe(l.executor(), *current->store, [&]() -> storage& {
    current.reset();
    current = std::make_unique<opened_storage>(l, settings_in(dir.path()));
    return *current->store;
  });
  check.run(probe);
  for (const auto& failure : probe.failures) ADD_FAILURE() << failure;
}

INSTANTIATE_TEST_SUITE_P(sqlite, contract,
                         ::testing::Combine(::testing::ValuesIn(storage_checks()), ::testing::Values(1, 4)),
                         [](const auto& each) {
                           return std::string(std::get<0>(each.param).name) + "_" +
                                  std::to_string(std::get<1>(each.param));
                         });

TEST(contract_suite, fails_a_storage_that_loses_writes) {
  // The suite itself must be able to fail.
  struct forgetful : storage_sqlite::sqlite_storage {
    using sqlite_storage::sqlite_storage;
    task<void> commit(batch) override { co_return result<void>{}; }
  };
  folder dir;
  loop l;
  forgetful store(settings_in(dir.path()));
  ASSERT_TRUE(l.run(store.open()));
  storage_probe probe(l.executor(), store, [&]() -> storage& { return store; });
  for (const auto& check : storage_checks()) {
    if (std::string_view(check.name) == "counts_versions") check.run(probe);
  }
  EXPECT_FALSE(probe.failures.empty());
  ASSERT_TRUE(l.run(store.close()));
}

}  // namespace
}  // namespace caged::testing
