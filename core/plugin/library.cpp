#include "core/plugin/library.hpp"

#define BOOST_DLL_USE_STD_FS
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/dll/shared_library.hpp>
#include <cstring>
#include <fstream>
#include <mutex>
#include <vector>

namespace caged::plugins {
namespace {

namespace fs = std::filesystem;

error refuse(errc code, const char* reason, const fs::path& file, const std::string& what, std::string action) {
  return fail(code, reason, "plugin " + file.string() + ": " + what, std::move(action));
}

std::string octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

// `what` is "the file" or "the folder"; `subject` names the plugin in the error.
std::optional<error> check_owner_and_mode(const fs::path& path, std::string_view what, const fs::path& subject) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0)
    return errno_error(errno, "plugin " + subject.string() + ": look at " + path.string());
  if (st.st_uid != 0 && st.st_uid != ::geteuid())
    return refuse(
        errc::permission_denied, "plugin_owner", subject,
        std::string(what) + " " + path.string() + " belongs to user " + std::to_string(st.st_uid) +
            ", expected root or user " + std::to_string(::geteuid()),
        "Install the plugin as the user that runs the host: chown " + std::to_string(::geteuid()) + " " + quoted(path));
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return refuse(errc::permission_denied, "plugin_writable", subject,
                  std::string(what) + " " + path.string() + " has mode " + octal(st.st_mode) +
                      ", which lets group or others change it",
                  "Take the right away: chmod go-w " + quoted(path));
  return std::nullopt;
}

std::optional<error> check_above(const fs::path& folder, const fs::path& subject) {
  for (fs::path above = folder.parent_path();; above = above.parent_path()) {
    struct stat st {};
    if (::lstat(above.c_str(), &st) == 0 && (st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)
      return refuse(errc::permission_denied, "plugin_writable", subject,
                    "the folder " + above.string() + " above it has mode " + octal(st.st_mode) +
                        ", which lets everyone replace what lies in it",
                    "Take the right away: chmod o-w " + quoted(above));
    if (above == above.root_path() || above.empty()) return std::nullopt;
  }
}

result<fs::path> real_path(const fs::path& path) {
  std::error_code ec;
  fs::path real = fs::canonical(path, ec);
  if (ec)
    return errno_error(ec.value(), "plugin " + path.string() + ": find it", "Correct the path, or build the plugin.");
  return real;
}

#if defined(__x86_64__)
constexpr Elf64_Half our_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half our_machine = EM_AARCH64;
#else
constexpr Elf64_Half our_machine = EM_NONE;
#endif

// dlopen() of a damaged file may kill the process (SIGBUS on a truncated mapping); these checks come first.
std::optional<error> check_elf(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  Elf64_Ehdr head{};
  in.read(reinterpret_cast<char*>(&head), sizeof head);
  const auto got = in.gcount();
  const auto not_elf = [&](const std::string& what) {
    return refuse(errc::invalid_argument, "plugin_not_a_library", file, what,
                  "Give the path of a plugin's .so file; build it again if it was damaged.");
  };
  if (got < SELFMAG || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return not_elf("it is not an ELF file");
  if (got < static_cast<std::streamsize>(sizeof head)) return not_elf("it is truncated: it ends within the ELF header");
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || (our_machine != EM_NONE && head.e_machine != our_machine))
    return not_elf("it is built for another machine (ELF machine " + std::to_string(head.e_machine) + ", expected " +
                   std::to_string(our_machine) + ")");
  if (head.e_type != ET_DYN) return not_elf("it is no shared library (ELF type " + std::to_string(head.e_type) + ")");
  in.seekg(0, std::ios::end);
  const auto size = static_cast<std::uint64_t>(in.tellg());
  std::uint64_t wants = std::max(head.e_shoff + std::uint64_t(head.e_shnum) * head.e_shentsize,
                                 head.e_phoff + std::uint64_t(head.e_phnum) * head.e_phentsize);
  for (unsigned i = 0; i < head.e_phnum && head.e_phentsize == sizeof(Elf64_Phdr) && wants <= size; ++i) {
    Elf64_Phdr segment{};
    in.seekg(static_cast<std::streamoff>(head.e_phoff + i * sizeof segment));
    in.read(reinterpret_cast<char*>(&segment), sizeof segment);
    if (segment.p_type == PT_LOAD) wants = std::max(wants, segment.p_offset + segment.p_filesz);
  }
  if (wants > size)
    return not_elf("it is truncated: it has " + std::to_string(size) + " bytes, its header speaks of " +
                   std::to_string(wants));
  return std::nullopt;
}

// dlerror()'s sentence out of Boost.DLL's.
std::string loader_sentence(std::string text) {
  constexpr std::string_view opening = "(dlerror system message: ";
  if (const auto at = text.find(opening); at != std::string::npos) {
    text.erase(0, at + opening.size());
    if (const auto end = text.rfind(')'); end != std::string::npos) text.erase(end);
  }
  return text;
}

error mapping_error(const fs::path& file, const std::string& sentence) {
  if (sentence.find("cannot open shared object file") != std::string::npos)
    return refuse(errc::unavailable, "plugin_library_missing", file, "a library it needs is not there: " + sentence,
                  "Install the library; `ldd " + file.string() + "` lists all that it needs.");
  if (sentence.find("undefined symbol") != std::string::npos)
    return refuse(errc::invalid_argument, "plugin_symbol_undefined", file, "it needs what nothing gives: " + sentence,
                  "Link the plugin with every library it uses, and build it with this host's SDK.");
  return refuse(errc::invalid_argument, "plugin_not_a_library", file, "it cannot be mapped: " + sentence,
                "Build the plugin again on this machine.");
}

}  // namespace

result<fs::path> admit_folder(const fs::path& folder) {
  auto real = real_path(folder);
  if (real.has_error()) return real.error();
  if (!fs::is_directory(*real))
    return refuse(errc::invalid_argument, "plugin_not_a_folder", *real, "it is not a folder",
                  "Give a folder of plugins.");
  if (auto wrong = check_owner_and_mode(*real, "the folder", *real)) return std::move(*wrong);
  if (auto wrong = check_above(*real, *real)) return std::move(*wrong);
  return real;
}

result<fs::path> admit_file(const fs::path& file) {
  auto real = real_path(file);
  if (real.has_error()) return real.error();
  std::error_code ec;
  if (!fs::is_regular_file(*real, ec))
    return refuse(errc::invalid_argument, "plugin_not_a_library", *real, "it is not a regular file",
                  "Give the path of a plugin's .so file.");
  if (auto wrong = check_owner_and_mode(*real, "the file", *real)) return std::move(*wrong);
  if (auto wrong = check_owner_and_mode(real->parent_path(), "the folder", *real)) return std::move(*wrong);
  if (auto wrong = check_above(real->parent_path(), *real)) return std::move(*wrong);
  if (auto wrong = check_elf(*real)) return std::move(*wrong);
  return real;
}

result<const caged_plugin_descriptor*> map_file(const fs::path& file) {
  // Kept for ever, and reachable, so that no leak checker takes them for lost.
  static auto* mapped = new std::vector<boost::dll::shared_library>;
  static std::mutex mutex;
  boost::dll::shared_library library;
  try {
    // Symbols at once: a missing one is an error here, not a crash later. Local, and never deep-bound: a plugin must
    // share the host's and libcaged-sdk's statics, and nobody shall see the plugin's.
    library.load(file, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  } catch (const std::exception& e) {
    return mapping_error(file, loader_sentence(e.what()));
  }
  const std::lock_guard lock(mutex);
  mapped->push_back(std::move(library));
  const boost::dll::shared_library& kept = mapped->back();
  if (!kept.has(CAGED_PLUGIN_SYMBOL_NAME))
    return refuse(errc::invalid_argument, "plugin_symbol_missing", file,
                  "it exports no symbol " CAGED_PLUGIN_SYMBOL_NAME ", so it is no Caged plugin",
                  "Add the CAGED_PLUGIN macro to one of its source files.");
  return &kept.get<const caged_plugin_descriptor>(CAGED_PLUGIN_SYMBOL_NAME);
}

}  // namespace caged::plugins
