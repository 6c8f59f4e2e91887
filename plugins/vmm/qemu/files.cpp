#include "files.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <set>

namespace caged::vmm::qemu {
namespace {

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), {});
}

// One archive of the "new ASCII" kind.
class cpio {
 public:
  void add(const std::string& name, unsigned mode, const std::string& data, unsigned device = 0) {
    char head[111];
    std::snprintf(head, sizeof head, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++inode_, mode, 0, 0,
                  1, 0, static_cast<unsigned>(data.size()), 0, 0, device >> 8, device & 255,
                  static_cast<unsigned>(name.size() + 1), 0);
    out_.append(head, 110);
    out_.append(name).push_back('\0');
    pad();
    out_.append(data);
    pad();
  }
  const std::string& done() {
    add("TRAILER!!!", 0, {});
    return out_;
  }

 private:
  void pad() { out_.append((4 - out_.size() % 4) % 4, '\0'); }
  std::string out_;
  unsigned inode_ = 0;
};

// name.ko → path below the modules' folder, and what it needs, from modules.dep.
struct module_list {
  std::map<std::string, std::vector<std::string>> rows;
  std::vector<std::string> order;
  std::set<std::string> seen;

  void want(const std::string& path) {
    if (!seen.insert(path).second) return;
    const auto& needs = rows[path];
    // Written with the farthest need last.
    for (auto it = needs.rbegin(); it != needs.rend(); ++it) want(*it);
    order.push_back(path);
  }
};

module_list read_modules(const std::filesystem::path& folder) {
  module_list out;
  std::ifstream in(folder / "modules.dep");
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::vector<std::string> needs;
    for (std::size_t at = colon + 1; at < line.size();) {
      const auto end = std::min(line.find(' ', at), line.size());
      if (end > at) needs.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    out.rows[line.substr(0, colon)] = needs;
  }
  return out;
}

constexpr const char* wanted_modules[] = {"virtio_mmio", "virtio_blk", "virtio_console", "virtio-rng",
                                          "virtio_net",  "overlay",    "erofs"};

}  // namespace

result<void> write_text(const std::filesystem::path& file, const std::string& text) {
  const auto part = std::filesystem::path(file.string() + ".part");
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out || ::rename(part.c_str(), file.c_str()) != 0)
    return fail(errc::insufficient_storage, "write_failed", "cannot write " + file.string(), "Check the data folder.");
  return {};
}

result<json> read_json(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return fail(errc::not_found, "no_record", "there is no " + file.string());
  return parse_json(bytes_of(file));
}

std::string fingerprint_of(const std::filesystem::path& file) {
  struct stat st {};
  if (::stat(file.c_str(), &st) != 0) return file.string() + " is missing";
  return file.string() + ":" + std::to_string(st.st_ino) + ":" + std::to_string(st.st_size) + ":" +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
}

result<void> write_initrd(const settings& s, const std::filesystem::path& to) {
  module_list modules = read_modules(s.modules);
  for (const char* name : wanted_modules) {
    const std::string file = "/" + std::string(name) + ".ko";
    const auto found = std::find_if(modules.rows.begin(), modules.rows.end(),
                                    [&](const auto& row) { return row.first.ends_with(file); });
    // What is not a module may be built in; the guest's agent says what it lacks.
    if (found != modules.rows.end()) modules.want(std::string(found->first));
  }
  if (modules.order.empty())
    return fail(errc::unsupported, "no_modules", "there are no kernel modules in " + s.modules.string(),
                "Install linux-image-cloud-amd64, or set plugins.vmm.qemu.kernel and .modules.");
  cpio archive;
  archive.add("init", 0100755, bytes_of(s.agent));
  archive.add("dev", 040755, {});
  archive.add("dev/console", 020600, {}, 0x501);
  archive.add("modules", 040755, {});
  std::string order;
  for (const std::string& path : modules.order) {
    const std::string name = std::filesystem::path(path).filename().string();
    archive.add("modules/" + name, 0100644, bytes_of(s.modules / path));
    order += name + "\n";
  }
  archive.add("modules/order", 0100644, order);
  return write_text(to, archive.done());
}

result<void> run_program(const std::vector<std::string>& argv) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const owned_fd read_end(ends[0]);
  owned_fd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), 2);
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path, nullptr};
  pid_t pid = -1;
  const int err = ::posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environment);
  ::posix_spawn_file_actions_destroy(&actions);
  if (err != 0)
    return errno_error(err, "start " + argv[0], "Install erofs-utils and e2fsprogs, which hold mkfs.erofs and mke2fs.");
  write_end.reset();
  std::string said;
  char piece[4096];
  for (ssize_t n = 0; (n = ::read(read_end.get(), piece, sizeof piece)) > 0;) {
    said.append(piece, static_cast<std::size_t>(n));
    if (said.size() > 16384) said.erase(0, said.size() - 8192);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(errc::internal, "program_failed", argv[0] + " failed: " + said.substr(said.size() > 400 ? said.size() - 400 : 0));
}

result<void> write_image(const std::filesystem::path& folder, const std::filesystem::path& to) {
  std::error_code ec;
  if (!std::filesystem::is_directory(folder, ec))
    return fail(errc::not_found, "no_template", folder.string() + " is no folder with a root file system",
                "Correct plugins.vmm.qemu.templates.");
  // Mount points that a guest's agent needs; the image itself is read-only.
  const auto part = to.string() + ".part";
  std::filesystem::remove(part, ec);
  if (auto made = run_program({"mkfs.erofs", part, folder.string()}); !made) return made;
  if (::rename(part.c_str(), to.c_str()) != 0) return errno_error(errno, "keep the image");
  return {};
}

result<void> write_disk(std::uint64_t bytes, const std::filesystem::path& to) {
  const owned_fd file(::open(to.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return errno_error(errno, "make a disk");
  // No journal: a disk is only ever looked at together with the memory of its machine. No blocks are kept for root.
  return run_program({"mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-E",
                      "lazy_itable_init=1,nodiscard", "-m", "0", to.string()});
}

result<void> copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to) {
  const owned_fd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return errno_error(errno, "open " + from.string());
  const owned_fd out(::open(to.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out) return errno_error(errno, "make " + to.string());
  if (::ioctl(out.get(), FICLONE, in.get()) == 0) return {};
  struct stat st {};
  if (::fstat(in.get(), &st) != 0 || ::ftruncate(out.get(), st.st_size) != 0) return errno_error(errno, "size a copy");
  for (off_t at = 0; at < st.st_size;) {
    const off_t begin = ::lseek(in.get(), at, SEEK_DATA);
    if (begin < 0) break;  // holes to the end
    const off_t end = ::lseek(in.get(), begin, SEEK_HOLE);
    off_t source = begin, target = begin;
    while (source < end) {
      const ssize_t n = ::copy_file_range(in.get(), &source, out.get(), &target, static_cast<std::size_t>(end - source), 0);
      if (n <= 0) return errno_error(n == 0 ? EIO : errno, "copy " + from.string());
    }
    at = end;
  }
  return {};
}

std::uint64_t disk_usage(const std::filesystem::path& file) {
  struct stat st {};
  return ::stat(file.c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_blocks) * 512 : 0;
}

}  // namespace caged::vmm::qemu
