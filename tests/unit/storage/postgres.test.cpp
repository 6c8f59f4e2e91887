// The storage kind on a real PostgreSQL: its contract, its owner, and a database that goes away.
#include <gtest/gtest.h>

#include <atomic>

#include "plugins/storage/postgres/postgres_storage.hpp"
#include "tests/unit/storage/postgres_server.hpp"
#include "tests/unit/storage/world.hpp"

namespace caged::testing {
namespace {

using storage_postgres::postgres_storage;

// Opened and closed with the object.
class opened_postgres {
 public:
  opened_postgres(loop& l, storage_postgres::settings s)
      : loop_(l), store(std::make_unique<postgres_storage>(std::move(s))) {
    opened = loop_.run(store->open());
  }
  ~opened_postgres() { (void)loop_.run(store->close()); }

 private:
  loop& loop_;

 public:
  std::unique_ptr<postgres_storage> store;
  result<void> opened;
};

std::string fresh_schema() { return random_id("t_", 10); }

class postgres_contract : public ::testing::TestWithParam<storage_check> {};

TEST_P(postgres_contract, holds) {
  const auto settings = postgres_server::instance().settings_in(fresh_schema());
  loop l(4);
  auto current = std::make_unique<opened_postgres>(l, settings);
  ASSERT_TRUE(current->opened) << describe(current->opened.error());
  storage_probe probe(l.executor(), *current->store, [&]() -> storage& {
    current.reset();
    current = std::make_unique<opened_postgres>(l, settings);
    return *current->store;
  });
  GetParam().run(probe);
  for (const auto& failure : probe.failures) ADD_FAILURE() << failure;
}

INSTANTIATE_TEST_SUITE_P(postgres, postgres_contract, ::testing::ValuesIn(storage_checks()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(postgres, a_second_server_is_refused_until_the_first_has_gone) {
  auto& database = postgres_server::instance();
  auto settings = database.settings_in(fresh_schema());
  loop l;
  auto first = std::make_unique<opened_postgres>(l, settings);
  ASSERT_TRUE(first->opened) << describe(first->opened.error());
  {
    opened_postgres second(l, settings);
    ASSERT_FALSE(second.opened);
    EXPECT_EQ(second.opened.error().reason, "storage_locked");
    EXPECT_NE(second.opened.error().message.find("backend"), std::string::npos) << second.opened.error().message;
  }
  ASSERT_TRUE(l.run(first->store->commit(one_record("a", json::object()))));
  // A server that stands by has the schema as soon as it is free, and all that was acknowledged.
  settings.wait_for_owner = std::chrono::seconds(30);
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    first.reset();
  });
  loop other;
  opened_postgres standby(other, settings);
  ends.join();
  ASSERT_TRUE(standby.opened) << describe(standby.opened.error());
  EXPECT_TRUE(other.run(standby.store->get("k", "a")).value().has_value());
}

TEST(postgres, two_schemas_of_one_database_are_apart) {
  auto& database = postgres_server::instance();
  loop l;
  opened_postgres one(l, database.settings_in(fresh_schema())), two(l, database.settings_in(fresh_schema()));
  ASSERT_TRUE(one.opened && two.opened);
  ASSERT_TRUE(l.run(one.store->commit(one_record("a", json::object()))));
  EXPECT_FALSE(l.run(two.store->get("k", "a")).value().has_value());
}

event numbered(std::uint64_t n) {
  event e;
  e.id = e.sequence = n;
  e.session_id = "s";
  e.type = "t";
  e.data = json{{"n", n}};
  e.hash = std::string(64, 'a');
  return e;
}

TEST(postgres, cut_connections_lose_nothing_that_was_acknowledged_and_store_nothing_twice) {
  auto& database = postgres_server::instance();
  loop l;
  opened_postgres db(l, database.settings_in(fresh_schema()));
  ASSERT_TRUE(db.opened) << describe(db.opened.error());
  std::atomic<bool> stop{false};
  int cuts = 0;
  std::thread enemy([&] {
    while (!stop) {
      cuts += database.cut_connections() > 0 ? 1 : 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(17));
    }
  });
  std::uint64_t acknowledged = 0;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (std::uint64_t n = 1; std::chrono::steady_clock::now() < until; ++n) {
    batch b = one_record("r" + std::to_string(n), json{{"n", n}});
    b.events.push_back(numbered(n));
    const auto done = l.run(db.store->commit(std::move(b)));
    if (!done) {
      ADD_FAILURE() << n << ": " << describe(done.error());
      break;
    }
    acknowledged = n;
  }
  stop = true;
  enemy.join();
  EXPECT_GT(cuts, 5);
  EXPECT_GT(acknowledged, 20u);
  event_query all;
  all.limit = 10000;
  std::uint64_t next = 1, after = 0;
  while (true) {
    all.after_id = after;
    auto page = l.run(db.store->events(all));
    if (!page) page = l.run(db.store->events(all));  // a reader's connection may have been cut last
    ASSERT_TRUE(page) << describe(page.error());
    if (page->empty()) break;
    for (const auto& e : *page) EXPECT_EQ(e.id, next++);
    after = page->back().id;
  }
  EXPECT_EQ(next - 1, acknowledged);
  for (std::uint64_t n = 1; n <= acknowledged; n += 7) {
    const auto r = l.run(db.store->get("k", "r" + std::to_string(n))).value();
    ASSERT_TRUE(r.has_value()) << n;
    EXPECT_EQ(r->version, 1u) << n;
  }
}

TEST(postgres, a_database_that_restarts_is_waited_for_and_one_that_stays_away_is_said) {
  auto& database = postgres_server::instance();
  auto settings = database.settings_in(fresh_schema());
  settings.reconnect = std::chrono::seconds(20);
  loop l;
  opened_postgres db(l, settings);
  ASSERT_TRUE(db.opened) << describe(db.opened.error());
  database.stop(SIGQUIT);
  std::thread returns([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    database.start();
  });
  const auto done = l.run(db.store->commit(one_record("a", json::object())));
  returns.join();
  EXPECT_TRUE(done) << describe(done.error());
  EXPECT_TRUE(l.run(db.store->get("k", "a")).value().has_value());

  auto impatient = database.settings_in(fresh_schema());
  impatient.reconnect = std::chrono::milliseconds(200);
  opened_postgres brief(l, impatient);
  ASSERT_TRUE(brief.opened);
  database.stop(SIGQUIT);
  const auto failed = l.run(brief.store->commit(one_record("b", json::object())));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason, "storage_unreachable");
  database.start();
  EXPECT_TRUE(l.run(brief.store->commit(one_record("c", json::object()))));
  EXPECT_FALSE(l.run(brief.store->get("k", "b")).value().has_value());
}

TEST(postgres, a_server_that_was_replaced_while_it_was_cut_off_writes_nothing_more) {
  auto& database = postgres_server::instance();
  auto settings = database.settings_in(fresh_schema());
  settings.reconnect = std::chrono::milliseconds(300);
  loop l;
  opened_postgres first(l, settings);
  ASSERT_TRUE(first.opened);
  database.cut_connections();
  {
    auto patient = settings;  // the cut backend may take a moment to die
    patient.wait_for_owner = std::chrono::seconds(20);
    opened_postgres second(l, patient);
    ASSERT_TRUE(second.opened) << describe(second.opened.error());
    batch b = one_record("theirs", json::object());
    b.events.push_back(numbered(1));
    ASSERT_TRUE(l.run(second.store->commit(std::move(b))));
    const auto refused = l.run(first.store->commit(one_record("mine", json::object())));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "storage_locked");
  }
  const auto late = l.run(first.store->commit(one_record("mine", json::object())));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason, "storage_taken_over");
}

TEST(postgres, refusals_at_start_say_what_to_do_and_show_no_password) {
  auto& database = postgres_server::instance();
  loop l;
  auto settings = database.settings_in("x");
  settings.connection = "host=/nonexistent user=caged dbname=postgres password=hunter22";
  opened_postgres nowhere(l, settings);
  ASSERT_FALSE(nowhere.opened);
  EXPECT_EQ(nowhere.opened.error().reason, "storage_unreachable");
  EXPECT_EQ(describe(nowhere.opened.error()).find("hunter22"), std::string::npos);
  settings.connection = database.connection() + " dbname=nosuch";
  opened_postgres missing(l, settings);
  ASSERT_FALSE(missing.opened);
  EXPECT_NE(describe(missing.opened.error()).find("nosuch"), std::string::npos);
  EXPECT_FALSE(missing.opened.error().action.empty());
}

TEST(postgres, a_schema_of_another_program_or_a_newer_one_is_refused) {
  auto& database = postgres_server::instance();
  loop l;
  const auto foreign = database.settings_in(fresh_schema()), newer = database.settings_in(fresh_schema());
  { ASSERT_TRUE(opened_postgres(l, newer).opened); }
  pqxx::connection c(database.connection());
  {
    pqxx::work t(c);
    t.exec("CREATE SCHEMA " + foreign.schema);
    t.exec("CREATE TABLE " + foreign.schema + ".other (x int)");
    t.exec("INSERT INTO " + newer.schema + ".caged_migrations (version, name) VALUES (99, 'later')");
    t.commit();
  }
  EXPECT_EQ(opened_postgres(l, foreign).opened.error().reason, "storage_foreign");
  EXPECT_EQ(opened_postgres(l, newer).opened.error().reason, "storage_too_new");
}

}  // namespace
}  // namespace caged::testing
