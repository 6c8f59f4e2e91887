#include "core/sandbox/template_tree.hpp"

#include <dirent.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/sandbox/template_place.hpp"

namespace caged::sandbox {
namespace {

constexpr const char* free_space = "Free space on the disk of the data folder.";
constexpr int deepest = 512;

class hasher {
 public:
  hasher() { ::EVP_DigestInit_ex(state_.get(), ::EVP_sha256(), nullptr); }
  void add(std::string_view bytes) { ::EVP_DigestUpdate(state_.get(), bytes.data(), bytes.size()); }
  void field(std::string_view bytes) {
    add(std::to_string(bytes.size()) + ":");
    add(bytes);
  }
  void field(std::int64_t number) { field(std::to_string(number)); }
  std::string hex() {
    unsigned char raw[32];
    ::EVP_DigestFinal_ex(state_.get(), raw, nullptr);
    std::string out;
    for (unsigned char c : raw) {
      constexpr const char* digits = "0123456789abcdef";
      out += digits[c >> 4];
      out += digits[c & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> state_{::EVP_MD_CTX_new(), &::EVP_MD_CTX_free};
};

struct tree_entry {
  int folder;
  const std::string& name;
  const std::string& path;
  const struct stat& status;
};

// Everything below `dir`, sorted by name: folders before their content, nothing followed.
result<void> walk_sorted(int dir, const std::string& path, int depth,
                         const std::function<result<void>(const tree_entry&)>& visit) {
  if (depth > deepest) return errno_error(ELOOP, "read the deep folder " + path);
  const int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return errno_error(errno, "read the folder " + path);
  std::vector<std::string> names;
  {
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy), &::closedir);
    while (const dirent* e = entries ? ::readdir(entries.get()) : nullptr) {
      const std::string name = e->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  for (const auto& name : names) {
    const std::string whole = path.empty() ? name : path + "/" + name;
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return errno_error(errno, "look at " + whole);
    if (auto seen = visit({dir, name, whole, st}); !seen) return seen;
    if (!S_ISDIR(st.st_mode)) continue;
    owned_fd inner(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inner) return errno_error(errno, "open " + whole);
    if (auto done = walk_sorted(inner.get(), whole, depth + 1, visit); !done) return done;
  }
  return {};
}

void empty_folder(int root, const char* path) {
  const owned_fd folder = open_in(root, path, O_RDONLY | O_DIRECTORY);
  if (!folder) return;
  std::error_code ec;
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator("/proc/self/fd/" + std::to_string(folder.get()), ec))
    names.push_back(e.path().filename());
  for (const auto& name : names) (void)remove_at(folder.get(), name);
}

result<void> remove_files(int root, const char* path, const std::function<bool(const std::string&)>& which) {
  const owned_fd folder = open_in(root, path, O_RDONLY | O_DIRECTORY);
  if (!folder) return {};
  return walk_sorted(folder.get(), "", 0, [&](const tree_entry& e) -> result<void> {
    if (!S_ISDIR(e.status.st_mode) && which(e.name)) (void)::unlinkat(e.folder, e.name.c_str(), 0);
    return {};
  });
}

result<void> replace_file(int folder, const char* name, std::string_view text) {
  (void)remove_at(folder, name);
  const owned_fd file(::openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fchmod(file.get(), 0644) != 0)
    return errno_error(errno, std::string("write etc/") + name, free_space);
  return {};
}

result<void> write_etc(int root) {
  if (::mkdirat(root, "etc", 0755) != 0 && errno != EEXIST) return errno_error(errno, "make etc", free_space);
  const owned_fd etc = open_in(root, "etc", O_RDONLY | O_DIRECTORY);
  if (!etc) return errno_error(errno, "open the template's etc");
  const std::pair<const char*, const char*> files[] = {
      {"machine-id", ""},
      {"fstab", ""},
      {"hostname", "sandbox\n"},
      {"hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"},
      {"resolv.conf", "nameserver 127.0.0.1\noptions edns0 timeout:2 attempts:1\n"}};
  for (const auto& [name, text] : files)
    if (auto done = replace_file(etc.get(), name, text); !done) return done;
  const std::pair<const char*, const char*> accounts[] = {
      {"passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
      {"group", "root:x:0:\nnogroup:x:65534:\n"}};
  for (const auto& [name, text] : accounts) {
    if (::faccessat(etc.get(), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) continue;
    if (auto done = replace_file(etc.get(), name, text); !done) return done;
  }
  return {};
}

void add_attributes(hasher& h, const std::string& path) {
  std::vector<char> names(4096), value(65536);
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  std::map<std::string, std::string> all;
  for (const char* name = names.data(); length > 0 && name < names.data() + length; name += std::strlen(name) + 1) {
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    if (size >= 0 && std::strncmp(name, "user.", 5) == 0)
      all[name] = std::string(value.data(), static_cast<std::size_t>(size));
  }
  for (const auto& [name, content] : all) {
    h.field(name);
    h.field(content);
  }
}

// An ordinary user's tree belongs to him; inside a box that is its root.
std::int64_t owner_inside(unsigned id, unsigned self) { return ::geteuid() != 0 && id == self ? 0 : id; }

result<void> add_content(hasher& h, const tree_entry& e, std::map<std::pair<dev_t, ino_t>, std::string>& named) {
  if (S_ISLNK(e.status.st_mode)) {
    std::vector<char> target(65536);
    const ssize_t n = ::readlinkat(e.folder, e.name.c_str(), target.data(), target.size());
    if (n < 0) return errno_error(errno, "read the link " + e.path);
    h.field(std::string_view(target.data(), static_cast<std::size_t>(n)));
    return {};
  }
  if (!S_ISREG(e.status.st_mode)) return {};
  const auto [first, fresh] = named.try_emplace({e.status.st_dev, e.status.st_ino}, e.path);
  if (!fresh) {
    h.field("same as " + first->second);
    return {};
  }
  const owned_fd file(::openat(e.folder, e.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return errno_error(errno, "read " + e.path);
  auto sum = sha256_of(file.get());
  if (!sum) return sum.error();
  h.field(*sum);
  return {};
}

}  // namespace

result<std::string> sha256_of(int fd) {
  hasher h;
  std::string piece(256 * 1024, '\0');
  for (;;) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read a file");
    if (n == 0) return h.hex();
    h.add(std::string_view(piece.data(), static_cast<std::size_t>(n)));
  }
}

result<void> settle_tree(int root, std::int64_t epoch) {
  for (const char* path : {"proc", "sys", "dev", "run", "tmp", "var/tmp", "var/lib/apt/lists"}) empty_folder(root, path);
  const auto every = [](const std::string&) { return true; };
  const auto old = [](const std::string& name) { return name.ends_with("-old"); };
  for (const char* path : {"var/log", "var/cache/apt", "var/cache/ldconfig", "var/cache/man"})
    if (auto done = remove_files(root, path, every); !done) return done;
  for (const char* path : {"var/cache/debconf", "var/lib/dpkg"})
    if (auto done = remove_files(root, path, old); !done) return done;
  const auto host_key = [](const std::string& name) { return name.starts_with("ssh_host_"); };
  if (auto done = remove_files(root, "etc/ssh", host_key); !done) return done;
  if (auto done = write_etc(root); !done) return done;
  return walk_sorted(root, "", 0, [epoch](const tree_entry& e) -> result<void> {
    const bool young = e.status.st_mtim.tv_sec > epoch;
    if (!young && e.status.st_mtim.tv_nsec == 0) return {};
    const timespec times[2] = {{epoch, 0}, {young ? epoch : e.status.st_mtim.tv_sec, 0}};
    if (::utimensat(e.folder, e.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return errno_error(errno, "set the time of " + e.path);
    return {};
  });
}

result<tree_sum> sum_tree(int root, depth how_deep) {
  tree_sum out;
  hasher content, seal;
  std::map<std::pair<dev_t, ino_t>, std::string> named;
  auto walked = walk_sorted(root, "", 0, [&](const tree_entry& e) -> result<void> {
    const struct stat& st = e.status;
    ++out.files;
    out.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
    const std::int64_t looked[] = {static_cast<std::int64_t>(st.st_ino), st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                                   st.st_ctim.tv_sec, st.st_ctim.tv_nsec, st.st_mode, st.st_uid, st.st_gid};
    seal.field(e.path);
    for (const auto number : looked) seal.field(number);
    if (how_deep == depth::names) return {};
    content.field(e.path);
    content.field(st.st_mode);
    content.field(owner_inside(st.st_uid, ::geteuid()));
    content.field(owner_inside(st.st_gid, ::getegid()));
    content.field(st.st_mtim.tv_sec);
    add_attributes(content, "/proc/self/fd/" + std::to_string(e.folder) + "/" + e.name);
    return add_content(content, e, named);
  });
  if (!walked) return walked.error();
  if (how_deep == depth::contents) out.digest = "sha256-" + content.hex();
  out.seal = seal.hex();
  return out;
}

}  // namespace caged::sandbox
