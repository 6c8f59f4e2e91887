#include <core/cli/archive.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

class Archive : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "caged-archive-XXXXXX").string();
    root_ = fs::canonical(::mkdtemp(pattern.data()));
    fs::create_directories(root_ / "in/sub");
    fs::create_directories(root_ / "out");
  }
  void TearDown() override { fs::remove_all(root_); }

  static void write(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }
  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string pack(const fs::path& folder) {
    auto writer = archive_writer::open(folder, ".");
    EXPECT_TRUE(writer.has_value());
    std::string all;
    for (;;) {
      auto piece = (*writer)->read();
      EXPECT_TRUE(piece.has_value());
      if (!piece || piece->empty()) return all;
      all += *piece;
    }
  }

  result<std::uint64_t> unpack_bytes(const std::string& bytes) {
    std::size_t at = 0;
    return unpack(
        [&bytes, at]() mutable -> result<std::string> {
          std::string piece = bytes.substr(std::min(at, bytes.size()), 1000);
          at += piece.size();
          return piece;
        },
        root_ / "out", ".");
  }

  // One tar header by hand, as an attacker would write it.
  static std::string entry(const std::string& name, char type, const std::string& link, const std::string& body,
                           unsigned mode) {
    char header[512] = {};
    std::snprintf(header, 100, "%s", name.c_str());
    std::snprintf(header + 100, 8, "%07o", mode);
    std::snprintf(header + 108, 8, "%07o", 0U);
    std::snprintf(header + 116, 8, "%07o", 0U);
    std::snprintf(header + 124, 12, "%011o", static_cast<unsigned>(body.size()));
    std::snprintf(header + 136, 12, "%011o", 0U);
    header[156] = type;
    std::snprintf(header + 157, 100, "%s", link.c_str());
    std::memcpy(header + 257,
                "ustar\0"
                "00",
                8);
    std::memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::snprintf(header + 148, 8, "%06o", sum);
    std::string out(header, sizeof header);
    out += body;
    out.resize((out.size() + 511) / 512 * 512, '\0');
    return out;
  }
  static std::string end() { return std::string(1024, '\0'); }

  fs::path root_;
};

TEST_F(Archive, NamesThatLeadOutsideAreRefused) {
  for (const char* name : {"../evil", "./../evil", "a/../../evil", "/tmp/caged-evil", "./a/../../evil"}) {
    EXPECT_FALSE(unpack_bytes(entry(name, '0', "", "x", 0644) + end()).has_value()) << name;
  }
  EXPECT_FALSE(fs::exists(root_ / "evil"));
  EXPECT_FALSE(fs::exists("/tmp/caged-evil"));
}

TEST_F(Archive, LinksLeadNowhere) {
  write(root_ / "secret", "secret");
  EXPECT_FALSE(unpack_bytes(entry("l", '2', "..", "", 0777) + entry("l/evil", '0', "", "x", 0644) + end()).has_value());
  EXPECT_FALSE(fs::exists(root_ / "evil"));
  EXPECT_FALSE(unpack_bytes(entry("h", '1', "../secret", "", 0644) + end()).has_value());
  EXPECT_FALSE(unpack_bytes(entry("h2", '1', "/etc/passwd", "", 0644) + end()).has_value());
  // Over a symbolic link the file replaces the link, not what it points at.
  EXPECT_TRUE(
      unpack_bytes(entry("s", '2', "../secret", "", 0777) + entry("s", '0', "", "new", 0644) + end()).has_value());
  EXPECT_EQ(read(root_ / "secret"), "secret");
}

TEST_F(Archive, DevicesAreLeftOutAndSetIdBitsDropped) {
  const auto done = unpack_bytes(entry("dev", '3', "", "", 0666) + entry("fifo", '6', "", "", 0666) +
                                 entry("root", '0', "", "x", 04755) + end());
  ASSERT_TRUE(done.has_value()) << describe(done.error());
  EXPECT_FALSE(fs::exists(root_ / "out/dev"));
  EXPECT_FALSE(fs::exists(root_ / "out/fifo"));
  struct stat info {};
  ASSERT_EQ(::stat((root_ / "out/root").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755U);
  EXPECT_EQ(info.st_uid, ::geteuid());
}

TEST_F(Archive, BrokenStreamsAreErrors) {
  EXPECT_FALSE(unpack_bytes(std::string(2000, 'x')).has_value());
  const std::string whole = entry("a", '0', "", std::string(5000, 'x'), 0644) + end();
  EXPECT_FALSE(unpack_bytes(whole.substr(0, 2000)).has_value());
  const auto failing =
      unpack([]() -> result<std::string> { return fail(errc::unavailable, "gone", "gone"); }, root_ / "out", ".");
  ASSERT_FALSE(failing.has_value());
  EXPECT_EQ(failing.error().reason, "gone");
}

TEST_F(Archive, AFolderComesBackAsItWas) {
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += static_cast<char>(i * 31 >> 3);
  write(root_ / "in/sub/data", bytes);
  write(root_ / "in/run", "#!/bin/sh\n");
  write(root_ / "in/" / std::string(150, 'n'), "long");
  write(root_ / "in/é 漢", "");
  fs::permissions(root_ / "in/run", fs::perms(0750));
  fs::create_symlink("sub/data", root_ / "in/link");
  fs::create_directory(root_ / "in/empty");
  const auto done = unpack_bytes(pack(root_ / "in"));
  ASSERT_TRUE(done.has_value()) << describe(done.error());
  EXPECT_EQ(read(root_ / "out/sub/data"), bytes);
  EXPECT_EQ(read(root_ / "out" / std::string(150, 'n')), "long");
  EXPECT_TRUE(fs::exists(root_ / "out/é 漢"));
  EXPECT_EQ(fs::read_symlink(root_ / "out/link"), "sub/data");
  EXPECT_TRUE(fs::is_directory(root_ / "out/empty"));
  EXPECT_EQ(fs::status(root_ / "out/run").permissions(), fs::perms(0750));
}

TEST_F(Archive, AFolderThatIsMissingIsAnError) {
  auto writer = archive_writer::open(root_ / "none", ".");
  ASSERT_TRUE(writer.has_value());
  EXPECT_FALSE((*writer)->read().has_value());
}

}  // namespace
}  // namespace caged::cli
