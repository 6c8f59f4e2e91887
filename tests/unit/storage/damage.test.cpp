// Damaged, foreign and newer databases: refused with the file and the repair, or used; never a crash.
#include <gtest/gtest.h>

#include <SQLiteCpp/SQLiteCpp.h>
#include <fstream>
#include <random>

#include "tests/unit/storage/world.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spill(const fs::path& p, const std::string& content) {
  std::ofstream(p, std::ios::binary | std::ios::trunc)
      .write(content.data(), static_cast<std::streamsize>(content.size()));
}

event stored_event(std::uint64_t id) {
  event e;
  e.id = id;
  e.session_id = "s" + std::to_string(id % 5);
  e.sequence = (id + 4) / 5;
  e.type = "command";
  e.data["argv"] = std::string(id % 50, 'a');
  e.hash = sha256_hex(std::to_string(id));
  return e;
}

// A database with some content, closed.
void fill(const fs::path& dir) {
  loop l;
  opened_storage o(l, settings_in(dir));
  ASSERT_TRUE(o.opened) << describe(o.opened.error());
  batch b;
  for (std::uint64_t i = 1; i <= 400; ++i) {
    b.events.push_back(stored_event(i));
    b.writes.push_back(one_record("r" + std::to_string(i), std::string(i % 90, 'r')).writes.front());
  }
  ASSERT_TRUE(l.run(o.store->commit(std::move(b))));
}

void expect_refusal(const fs::path& file, const std::string& found) {
  loop l;
  opened_storage o(l, settings_in(file.parent_path()));
  ASSERT_FALSE(o.opened) << "opened although: " << found;
  const error& e = o.opened.error();
  EXPECT_EQ(e.reason, "storage_damaged");
  EXPECT_NE(e.message.find(file.string()), std::string::npos) << e.message;
  EXPECT_NE(e.message.find(found), std::string::npos) << e.message;
  EXPECT_NE(e.action.find(".recover"), std::string::npos) << e.action;
}

class damage : public ::testing::Test {
 protected:
  void SetUp() override { fill(dir.path()); }
  fs::path file() const { return dir.path() / "caged.db"; }
  folder dir;
};

TEST_F(damage, an_empty_file_is_refused_and_left_as_it_is) {
  spill(file(), "");
  expect_refusal(file(), "cut short (0 bytes");
  EXPECT_EQ(fs::file_size(file()), 0u);
}

TEST_F(damage, text_is_refused) {
  spill(file(), std::string(5000, 'x'));
  expect_refusal(file(), "not an SQLite database");
}

TEST_F(damage, a_cut_file_is_refused) {
  const std::string whole = slurp(file());
  spill(file(), whole.substr(0, 60));
  expect_refusal(file(), "cut short (60 bytes");
  spill(file(), whole.substr(0, whole.size() / 2));
  expect_refusal(file(), "");
}

TEST_F(damage, a_missing_file_with_a_log_is_refused) {
  fs::remove(file());
  spill(dir.path() / "caged.db-wal", "something");
  expect_refusal(file(), "missing");
}

TEST_F(damage, a_folder_or_link_in_its_place_is_refused) {
  fs::remove(file());
  fs::create_directory(file());
  expect_refusal(file(), "not a regular file");
  fs::remove(file());
  fs::create_symlink("/dev/zero", file());
  expect_refusal(file(), "not a regular file");
}

TEST_F(damage, a_database_of_another_program_is_refused_and_not_changed) {
  fs::remove(file());
  { SQLite::Database(file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec("CREATE TABLE theirs (x)"); }
  const std::string before = slurp(file());
  expect_refusal(file(), "another program");
  EXPECT_EQ(slurp(file()), before);
}

TEST_F(damage, a_newer_database_is_refused_with_what_to_do) {
  {
    SQLite::Database(file().string(), SQLite::OPEN_READWRITE)
        .exec("INSERT INTO migrations (version, name) VALUES (999, 'later')");
  }
  loop l;
  opened_storage o(l, settings_in(dir.path()));
  ASSERT_FALSE(o.opened);
  EXPECT_EQ(o.opened.error().reason, "storage_too_new");
  EXPECT_NE(o.opened.error().message.find("999"), std::string::npos);
  EXPECT_NE(o.opened.error().action.find("newer"), std::string::npos);
}

// Everything a host does with a database, on one that may be damaged anywhere.
void use_all(loop& l, storage& s) {
  (void)l.run(s.list("k", "", 10000));
  (void)l.run(s.events(event_query{}));
  for (int i = 0; i < 5; ++i) {
    event_query q;
    q.session_id = "s" + std::to_string(i);
    q.after_id = 200;
    (void)l.run(s.events(q));
    (void)l.run(s.head(q.session_id));
  }
  for (int i = 1; i <= 400; i += 40) (void)l.run(s.get("k", "r" + std::to_string(i)));
  batch b = one_record("r7", "again");
  b.events.push_back(stored_event(401));
  (void)l.run(s.commit(std::move(b)));
}

TEST_F(damage, bytes_changed_at_random_never_crash_it) {
  const std::string whole = slurp(file());
  const char* chosen = std::getenv("CAGED_TEST_DAMAGE_ROUNDS");
  const int rounds = chosen != nullptr ? std::atoi(chosen) : 60;
  int refused = 0, worked = 0;
  loop l;
  for (int round = 0; round < rounds; ++round) {
    std::mt19937 random(static_cast<unsigned>(round));
    std::string broken = whole;
    const int changes = round % 3 == 0 ? 1 : round % 3 == 1 ? 20 : 2000;
    for (int i = 0; i < changes; ++i) broken[random() % broken.size()] = static_cast<char>(random());
    if (round % 10 == 9) broken.resize(random() % broken.size());
    for (const char* rest : {"-wal", "-shm"}) fs::remove(file().string() + rest);
    spill(file(), broken);
    opened_storage o(l, settings_in(dir.path()));
    if (o.opened) {
      ++worked;
      use_all(l, *o.store);
    } else {
      ++refused;
      EXPECT_NE(o.opened.error().message.find(file().string()), std::string::npos) << describe(o.opened.error());
      EXPECT_FALSE(o.opened.error().action.empty()) << describe(o.opened.error());
    }
  }
  EXPECT_EQ(refused + worked, rounds);
  EXPECT_GT(refused, rounds / 4) << "2000 changed bytes must be noticed";
}

TEST_F(damage, a_damaged_log_never_crashes_it) {
  // A process that died leaves a log; that may be damaged too.
  loop l;
  {
    opened_storage o(l, settings_in(dir.path()));
    ASSERT_TRUE(o.opened);
    for (int i = 0; i < 20; ++i)
      ASSERT_TRUE(l.run(o.store->commit(one_record("w" + std::to_string(i), std::string(500, 'w')))));
    fs::copy_file(file().string() + "-wal", dir.path() / "kept-wal");
    fs::copy_file(file(), dir.path() / "kept");
  }
  const std::string log = slurp(dir.path() / "kept-wal");
  ASSERT_FALSE(log.empty());
  for (int round = 0; round < 20; ++round) {
    std::mt19937 random(static_cast<unsigned>(round));
    std::string broken = log;
    for (int i = 0; i < 10; ++i) broken[random() % broken.size()] = static_cast<char>(random());
    fs::remove(file().string() + "-shm");
    fs::copy_file(dir.path() / "kept", file(), fs::copy_options::overwrite_existing);
    spill(file().string() + "-wal", broken);
    opened_storage o(l, settings_in(dir.path()));
    if (o.opened)
      use_all(l, *o.store);
    else
      EXPECT_FALSE(o.opened.error().action.empty());
  }
}

}  // namespace
}  // namespace caged::testing
