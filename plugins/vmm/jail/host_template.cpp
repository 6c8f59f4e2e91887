#include "host_template.hpp"

#include "files.hpp"

#include <fcntl.h>
#include <algorithm>
#include <caged/random.hpp>
#include <cerrno>
#include <fstream>
#include <set>

namespace caged::vmm::jail {
namespace {

namespace fs = std::filesystem;

// Folders and links directly below the host's root that hold programs and nothing else.
constexpr const char* system_folders[] = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"};

// Of /etc only what programs need. A list of what may be there, because a list of secrets is never complete.
constexpr const char* etc_entries[] = {"alternatives",
                                       "adduser.conf",
                                       "apache2/mime.types",
                                       "apt/apt.conf.d",
                                       "apt/sources.list",
                                       "apt/sources.list.d",
                                       "apt/trusted.gpg.d",
                                       "apt/preferences.d",
                                       "apt/keyrings",
                                       "bash.bashrc",
                                       "bash_completion.d",
                                       "bindresvport.blacklist",
                                       "ca-certificates",
                                       "ca-certificates.conf",
                                       "debian_version",
                                       "debconf.conf",
                                       "default/locale",
                                       "deluser.conf",
                                       "dpkg",
                                       "emacs",
                                       "ethertypes",
                                       "fonts",
                                       "gai.conf",
                                       "groff",
                                       "gtk-3.0",
                                       "host.conf",
                                       "inputrc",
                                       "issue",
                                       "java",
                                       "java-17-openjdk",
                                       "java-11-openjdk",
                                       "java-21-openjdk",
                                       "ld.so.cache",
                                       "ld.so.conf",
                                       "ld.so.conf.d",
                                       "ldap/ldap.conf",
                                       "libaudit.conf",
                                       "locale.alias",
                                       "locale.conf",
                                       "locale.gen",
                                       "localtime",
                                       "login.defs",
                                       "lsb-release",
                                       "magic",
                                       "magic.mime",
                                       "manpath.config",
                                       "maven/toolchains.xml",
                                       "mailcap",
                                       "mime.types",
                                       "mke2fs.conf",
                                       "nanorc",
                                       "netconfig",
                                       "networks",
                                       "npm",
                                       "openssl",
                                       "os-release",
                                       "perl",
                                       "pki/ca-trust",
                                       "pki/tls/certs",
                                       "profile",
                                       "profile.d",
                                       "protocols",
                                       "python2.7",
                                       "python3",
                                       "python3.11",
                                       "python3.12",
                                       "python3.13",
                                       "rpc",
                                       "redhat-release",
                                       "screenrc",
                                       "security/limits.conf",
                                       "services",
                                       "shells",
                                       "skel",
                                       "ssl/certs",
                                       "ssl/openssl.cnf",
                                       "terminfo",
                                       "texmf",
                                       "timezone",
                                       "vim",
                                       "wgetrc",
                                       "xattr.conf",
                                       "xdg",
                                       "zsh"};

// A proxy, mirror or registry may carry a password in its address.
bool holds_credentials(const std::string& text) {
  for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at + 3)) {
    for (std::size_t i = at + 3;
         i < text.size() && text[i] != '/' && text[i] != ' ' && text[i] != '\n' && text[i] != '"'; ++i) {
      if (text[i] == '@') return true;
    }
  }
  for (const char* mark : {"PRIVATE KEY", "_authToken", "_password"}) {
    if (text.find(mark) != std::string::npos) return true;
  }
  return false;
}

struct etc_item {
  fs::path relative;
  fs::file_type type;
  std::string detail;  // link target, or size and time
};

// Only what every user of the host may read comes along.
void collect(const fs::path& relative, std::vector<etc_item>& out) {
  const fs::path source = "/etc" / relative;
  struct stat st {};
  if (::lstat(source.c_str(), &st) != 0) return;
  std::error_code ec;
  if (S_ISLNK(st.st_mode)) {
    out.push_back({relative, fs::file_type::symlink, fs::read_symlink(source, ec).string()});
  } else if (S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0 && st.st_size <= 4 << 20) {
    out.push_back({relative, fs::file_type::regular,
                   std::to_string(st.st_size) + "." + std::to_string(st.st_mtim.tv_sec) + "." +
                       std::to_string(st.st_mtim.tv_nsec) + "." + std::to_string(st.st_mode)});
  } else if (S_ISDIR(st.st_mode) && (st.st_mode & S_IXOTH) != 0) {
    out.push_back({relative, fs::file_type::directory, {}});
    std::vector<fs::path> names;
    for (const auto& e : fs::directory_iterator(source, ec)) names.push_back(e.path().filename());
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
      if (name.string().find(".key") == std::string::npos || relative.string().rfind("ssl/certs", 0) == 0)
        collect(relative / name, out);
    }
  }
}

std::vector<etc_item> etc_items(const std::vector<std::string>& extra) {
  std::vector<etc_item> out;
  for (const char* name : etc_entries) collect(name, out);
  for (const auto& name : extra) collect(name, out);
  return out;
}

void copy_item(const etc_item& item, const fs::path& target) {
  std::error_code ec;
  fs::create_directories(target.parent_path(), ec);
  if (item.type == fs::file_type::directory) {
    fs::create_directories(target, ec);
  } else if (item.type == fs::file_type::symlink) {
    fs::create_symlink(item.detail, target, ec);
  } else if (auto text = read_small_file("/etc" / item.relative, 8 << 20); text && !holds_credentials(*text)) {
    std::ofstream(target, std::ios::binary) << *text;
    struct stat st {};
    // Never set-id bits, whatever the host has there.
    if (::stat(("/etc" / item.relative).c_str(), &st) == 0) ::chmod(target.c_str(), (st.st_mode & 0555) | 0644);
  }
}

constexpr const char* passwd_text =
    "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/"
    "nologin\n"
    "sys:x:3:3:sys:/dev:/usr/sbin/nologin\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nmail:x:8:8:mail:/var/mail:/"
    "usr/sbin/nologin\n"
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
    "user:x:1000:1000:user:/home/user:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
constexpr const char* group_text =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nman:x:12:\nwww-data:x:33:\n"
    "shadow:x:42:\nutmp:x:43:\nstaff:x:50:\nusers:x:100:\nuser:x:1000:\nnogroup:x:65534:\n";

const std::vector<std::pair<std::string, std::string>>& fresh_etc_files() {
  static const std::vector<std::pair<std::string, std::string>> files{
      {"passwd", passwd_text},
      {"group", group_text},
      {"fstab", ""},
      {"machine-id", ""},
      {"environment", ""},
      {"nsswitch.conf",
       "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: "
       "files\nethers: files\nrpc: files\n"},
      {"resolv.conf", "nameserver 127.0.0.1\noptions edns0 timeout:2 attempts:1\n"}};
  return files;
}

std::string fingerprint(const std::vector<etc_item>& items) {
  std::string text = "etc-v1\n";
  for (const auto& i : items) text += i.relative.string() + '\n' + i.detail + '\n';
  for (const auto& [name, content] : fresh_etc_files()) text += name + '\n' + content;
  return sha256_hex(text).substr(0, 16);
}

result<std::string> prepare_etc(const fs::path& folder, const template_options& options) {
  const auto items = etc_items(options.extra_etc);
  const std::string name = "etc-" + fingerprint(items);
  std::error_code ec;
  if (fs::is_directory(folder / name, ec)) return name;
  const fs::path making = folder / (".making-" + random_id("", 8));
  fs::create_directories(making, ec);
  if (ec) return errno_error(ec.value(), "make the folder " + making.string());
  for (const auto& item : items) copy_item(item, making / item.relative);
  for (const auto& [file, text] : fresh_etc_files()) {
    fs::remove(making / file, ec);
    std::ofstream out(making / file, std::ios::binary);
    out << text;
    if (!out.flush()) return errno_error(errno, "write " + (making / file).string());
  }
  fs::create_symlink("/proc/self/mounts", making / "mtab", ec);
  fs::permissions(making, fs::perms(0755), ec);
  fs::rename(making, folder / name, ec);
  if (ec && !fs::is_directory(folder / name)) return errno_error(ec.value(), "put the template's /etc in place");
  return name;
}

// Covers, for one folder of the box: where it lies, its mode, whether it is an empty file to mount on.
struct entry {
  const char* path;
  mode_t mode;
};
constexpr entry skeleton[] = {{"boot", 0755},
                              {"dev", 0755},
                              {"etc", 0755},
                              {"home", 0755},
                              {"home/user", 0750},
                              {"media", 0755},
                              {"mnt", 0755},
                              {"proc", 0555},
                              {"root", 0700},
                              {"run", 0755},
                              {"srv", 0755},
                              {"sys", 0555},
                              {"tmp", 01777},
                              {"usr", 0755},
                              {"opt", 0755},
                              {"workspace", 0755},
                              {"var", 0755},
                              {"var/backups", 0755},
                              {"var/cache", 0755},
                              {"var/cache/apt", 0755},
                              {"var/lib", 0755},
                              {"var/lib/apt", 0755},
                              {"var/lib/apt/lists", 0755},
                              {"var/lib/dpkg", 0755},
                              {"var/lib/dpkg/info", 0755},
                              {"var/lib/dpkg/updates", 0755},
                              {"var/lib/dpkg/alternatives", 0755},
                              {"var/lib/dpkg/triggers", 0755},
                              {"var/local", 0755},
                              {"var/log", 0755},
                              {"var/mail", 0755},
                              {"var/opt", 0755},
                              {"var/spool", 0755},
                              {"var/tmp", 01777}};

// Folders of the layers that an ordinary user's box shall be able to write: there the host's folders belong to a user
// that is not mapped, so that the box needs its own above them. Root's boxes see all of them as their root's.
constexpr const char* opened_folders[] = {"usr/bin",
                                          "usr/sbin",
                                          "usr/lib",
                                          "usr/lib/x86_64-linux-gnu",
                                          "usr/lib/node_modules",
                                          "usr/lib/python3",
                                          "usr/lib/python3/dist-packages",
                                          "usr/include",
                                          "usr/share",
                                          "usr/share/doc",
                                          "usr/share/man",
                                          "usr/share/man/man1",
                                          "usr/src",
                                          "usr/local",
                                          "usr/local/bin",
                                          "usr/local/etc",
                                          "usr/local/include",
                                          "usr/local/lib",
                                          "usr/local/lib/node_modules",
                                          "usr/local/sbin",
                                          "usr/local/share",
                                          "usr/local/src"};

struct builder {
  int root;
  std::uint32_t owner;
  int err = 0;
  std::string where{};

  bool fine(int rc, const std::string& what) {
    if (rc >= 0 || errno == EEXIST) return true;
    if (err == 0) {
      err = errno;
      where = what;
    }
    return false;
  }
  void own(int dir, const std::string& path) {
    if (owner != 0) fine(::fchownat(dir, path.c_str(), owner, owner, AT_SYMLINK_NOFOLLOW), "give away " + path);
  }
  // Safe to use paths of several parts: the folder is new and no box runs in it.
  void folder(int dir, const std::string& path, mode_t mode) {
    if (!fine(::mkdirat(dir, path.c_str(), 0700), "make " + path)) return;
    fine(::fchmodat(dir, path.c_str(), mode, 0), "set the mode of " + path);
    own(dir, path);
  }
  void folders(int dir, const std::string& path) {
    for (auto at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
      if (::faccessat(dir, path.substr(0, at).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        folder(dir, path.substr(0, at), 0755);
    }
    if (::faccessat(dir, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0) folder(dir, path, 0755);
  }
  void link(int dir, const std::string& name, const std::string& target) {
    if (fine(::symlinkat(target.c_str(), dir, name.c_str()), "link " + name)) own(dir, name);
  }
  void file(int dir, const std::string& name, const std::string& text) {
    unique_fd fd(::openat(dir, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fine(fd.get(), "create " + name)) return;
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) fine(-1, "write " + name);
    fine(::fchmod(fd.get(), 0644), "set the mode of " + name);
    own(dir, name);
  }
};

// Where a box finds its own name.
std::vector<std::pair<std::string, std::string>> name_files(const std::string& id) {
  return {{"etc/upper/hostname", id + "\n"},
          {"etc/upper/hosts", "127.0.0.1 localhost " + id + "\n::1 localhost ip6-localhost ip6-loopback\n"}};
}

}  // namespace

result<host_template> prepare_host_template(const fs::path& folder, const template_options& options) {
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) return errno_error(ec.value(), "make the folder " + folder.string());
  host_template out;
  for (const char* name : system_folders) {
    const fs::path source = fs::path("/") / name;
    if (fs::is_symlink(source, ec))
      out.links.emplace_back(name, fs::read_symlink(source, ec).string());
    else if (fs::is_directory(source, ec))
      out.layers.push_back({source.string(), name, name});
  }
  for (const auto& extra : options.extra_lower) {
    if (extra.size() < 2 || extra[0] != '/' || extra.find("/..") != std::string::npos || !fs::is_directory(extra, ec)) {
      return fail(errc::invalid_argument, "invalid_input",
                  "extra_lower names \"" + extra + "\", expected the absolute path of a folder of the host",
                  "Correct plugins.vmm.jail.extra_lower.", "/extra_lower");
    }
    std::string name = extra.substr(1);
    const std::string target = name;
    std::replace(name.begin(), name.end(), '/', '-');
    out.layers.push_back({extra, target, name});
  }
  auto etc = prepare_etc(folder, options);
  if (!etc) return etc.error();
  out.etc_folder = *etc;
  out.layers.push_back({(folder / *etc).string(), "etc", "etc"});
  return out;
}

void remove_old_templates(const fs::path& folder, const std::vector<std::string>& used) {
  unique_fd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return;
  std::vector<std::string> old;
  std::error_code ec;
  for (const auto& e : fs::directory_iterator(folder, ec)) {
    const std::string name = e.path().filename();
    if (std::find(used.begin(), used.end(), name) == used.end()) old.push_back(name);
  }
  for (const auto& name : old) (void)remove_tree(dir.get(), name);
}

result<void> write_names(int fs, const std::string& id) {
  unique_fd layers(open_folder(fs, "layers"));
  for (const auto& [name, text] : name_files(id)) {
    unique_fd file(::openat(layers.get(), name.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      return errno_error(errno, "write " + name);
  }
  return {};
}

void replace_names(int fs, const std::string& id, std::uint32_t owner) {
  unique_fd layers(open_folder(fs, "layers"));
  builder b{fs, owner};
  for (const auto& [name, text] : name_files(id)) {
    if (::unlinkat(layers.get(), name.c_str(), 0) == 0 || errno == ENOENT) b.file(layers.get(), name, text);
  }
}

result<void> make_skeleton(int fs, const host_template& from, const std::string& id, std::uint32_t owner) {
  builder b{fs, owner};
  b.folder(fs, "root", 0755);
  b.folder(fs, "layers", 0755);
  unique_fd root(open_folder(fs, "root")), layers(open_folder(fs, "layers"));
  if (!root || !layers)
    return errno_error(b.err != 0 ? b.err : errno, "make the sandbox's folders",
                       "Free space on the disk of the data folder.");
  for (const auto& e : skeleton) b.folder(root.get(), e.path, e.mode);
  for (const auto& [name, target] : from.links) b.link(root.get(), name, target);
  b.link(root.get(), "var/run", "/run");
  b.link(root.get(), "var/lock", "/run/lock");
  b.file(root.get(), "var/lib/dpkg/status", "");
  b.file(root.get(), "var/lib/dpkg/available", "");
  for (const auto& l : from.layers) {
    b.folders(root.get(), l.target);
    b.folder(layers.get(), l.folder, 0755);
    b.folder(layers.get(), l.folder + "/upper", 0755);
    b.folder(layers.get(), l.folder + "/work", 0755);
  }
  if (owner == 0 && from.own_folders) {
    std::error_code ec;
    for (const std::string path : opened_folders) {
      const auto slash = path.find('/');
      if (std::filesystem::is_directory("/" + path, ec))
        b.folder(layers.get(), path.substr(0, slash) + "/upper" + path.substr(slash), 0755);
    }
  }
  for (const auto& [name, text] : name_files(id)) b.file(layers.get(), name, text);
  if (b.err != 0)
    return errno_error(b.err, "make the sandbox's folders: " + b.where, "Free space on the disk of the data folder.");
  return {};
}

}  // namespace caged::vmm::jail
