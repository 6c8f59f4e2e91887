// file_write and file_edit: a file is replaced as a whole or not at all.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "fs/entry.hpp"
#include "mcp/server/text_page.hpp"
#include "mcp/server/tools.hpp"
#include "mcp/server/unified_diff.hpp"

namespace caged::mcp {
namespace {

using agent::fd;
using wire::failed;

constexpr std::size_t largest_edited = 32u << 20;

void write_all(const fd& file, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw agent::os_failure(errno, "write " + path);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void refuse_other_than_file(const std::string& path, const struct stat& st) {
  if (!S_ISREG(st.st_mode))
    throw failed("invalid_argument", "not_regular_file",
                 path + " is a " + (S_ISDIR(st.st_mode) ? "folder" : agent::type_name(st.st_mode)) + ", not a file",
                 "Name a file.");
  if ((st.st_mode & 0222) == 0)
    throw failed("permission_denied", "read_only_file", path + " is read-only",
                 "Change its mode first if it should be written.");
}

// What users and programs noted at a file ("user.*") and its access list. A file system without them keeps none.
void keep_attributes(const fd& folder, const std::string& name, const fd& file) {
  const fd old(::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  std::array<char, 64u << 10> names;
  const ssize_t size = old ? ::flistxattr(old.get(), names.data(), names.size()) : -1;
  for (const char* at = names.data(); size > 0 && at < names.data() + size; at += std::strlen(at) + 1) {
    const std::string_view attribute = at;
    if (attribute.substr(0, 5) != "user." && attribute != "system.posix_acl_access") continue;
    std::array<char, 64u << 10> value;
    const ssize_t n = ::fgetxattr(old.get(), at, value.data(), value.size());
    if (n < 0 || ::fsetxattr(file.get(), at, value.data(), static_cast<std::size_t>(n), 0) != 0)
      throw agent::os_failure(errno, "keep the attribute " + std::string(attribute));
  }
}

// Writes beside the file and renames: whoever looks sees the old or the new one. Every step works on the opened folder
// and one name in it, so a symlink that is swapped in meanwhile leads nowhere. True: there was none before.
bool replace_file(const workspace& w, const std::string& path, std::string_view content) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) w.files().make_parents(path.substr(0, slash), 0755, -1, -1);
  const std::string target = w.files().final_target(path);
  std::string name;
  const fd parent = w.files().open_parent(target, name);
  struct stat old {};
  if (name.empty())
    throw failed("invalid_argument", "not_regular_file", path + " is a folder, not a file", "Name a file.");
  const bool existed = ::fstatat(parent.get(), name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
  if (existed) refuse_other_than_file(path, old);
  const std::string temporary = agent::random_name(".caged-write-");
  const fd file(::openat(parent.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw agent::os_failure(errno, "write in the folder of " + path);
  try {
    write_all(file, content, path);
    // Only root can give a file away; anybody else owns the replacement.
    if (existed && (old.st_uid != ::geteuid() || old.st_gid != ::getegid()) &&
        ::fchown(file.get(), old.st_uid, old.st_gid) != 0 && ::geteuid() == 0)
      throw agent::os_failure(errno, "keep the owner of " + path);
    if (::fchmod(file.get(), existed ? old.st_mode & 07777 : 0644) != 0)
      throw agent::os_failure(errno, "set the mode of " + path);
    if (existed) keep_attributes(parent, name, file);
    if (::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) != 0)
      throw agent::os_failure(errno, "put " + path + " in place");
  } catch (...) {
    ::unlinkat(parent.get(), temporary.c_str(), 0);
    throw;
  }
  return !existed;
}

std::string read_whole(const workspace& w, const std::string& path) {
  struct stat st {};
  const fd there = w.files().open(path, O_PATH);
  if (::fstat(there.get(), &st) != 0) throw agent::os_failure(errno, "stat " + path);
  refuse_other_than_file(path, st);
  const fd file = w.files().open(path, O_RDONLY | O_NONBLOCK);
  if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) throw agent::os_failure(EAGAIN, "read " + path);
  if (static_cast<std::size_t>(st.st_size) > largest_edited)
    throw failed("too_large", "file_too_large",
                 path + " has " + std::to_string(st.st_size) + " bytes; at most 32 MiB are edited",
                 "Use a command, such as sed.");
  std::string text;
  char piece[64u << 10];
  for (ssize_t n = 0; (n = ::read(file.get(), piece, sizeof piece)) != 0 && text.size() <= largest_edited;) {
    if (n < 0) throw agent::os_failure(errno, "read " + path);
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

std::vector<std::size_t> occurrences(const std::string& text, const std::string& wanted) {
  std::vector<std::size_t> found;
  for (std::size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size()))
    found.push_back(at);
  return found;
}

std::string with_crlf(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) out += '\r';
    out += text[i];
  }
  return out;
}

std::string line_numbers(const std::string& text, const std::vector<std::size_t>& found) {
  std::string out;
  for (std::size_t i = 0; i < found.size() && i < 10; ++i)
    out += (i == 0 ? "" : ", ") +
           std::to_string(1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(found[i]), '\n'));
  return out + (found.size() > 10 ? ", …" : "");
}

failed not_found(const std::string& path, const std::string& text, const std::string& wanted) {
  // The commonest cause is a difference in white space: say where the first line is, whatever surrounds it.
  const std::size_t begin = wanted.find_first_not_of(" \t\r\n");
  std::string hint = "Read the file again and copy the text exactly, white space included.";
  if (begin != std::string::npos) {
    std::string line = wanted.substr(begin, wanted.find('\n', begin) - begin);
    line.erase(line.find_last_not_of(" \t\r") + 1);
    const auto near = occurrences(text, line);
    if (!near.empty() && line.size() > 2) hint += " Its first line occurs at line " + line_numbers(text, near) + ".";
  }
  return failed("not_found", "text_not_found", "old_text does not occur in " + path, hint);
}

tool_result edit(const workspace& w, const tool_call& call) {
  const agent::arguments args(call.arguments());
  const std::string path = args.path();
  std::string wanted = args.text("old_text"), replacement = args.text("new_text");
  if (wanted.empty())
    throw agent::bad_argument("/old_text", "old_text is empty",
                              "Give the text to replace; make new files with file_write.");
  if (wanted == replacement) throw agent::bad_argument("/new_text", "new_text is the same as old_text");
  w.refuse_git_folder(path);
  const std::string text = read_whole(w, path), shown = w.relative(path);
  auto found = occurrences(text, wanted);
  if (found.empty() && text.find("\r\n") != std::string::npos) {
    wanted = with_crlf(wanted);
    replacement = with_crlf(replacement);
    found = occurrences(text, wanted);
  }
  if (found.empty()) throw not_found(shown, text, wanted);
  if (found.size() > 1 && !args.flag("replace_all", false))
    throw failed("conflict", "text_not_unique",
                 "old_text occurs " + std::to_string(found.size()) + " times in " + shown + ", at lines " +
                     line_numbers(text, found) + "; nothing was changed",
                 "Give more of the surrounding text, or set replace_all.");
  std::string edited;
  std::size_t done = 0;
  for (const std::size_t at : found) {
    edited.append(text, done, at - done).append(replacement);
    done = at + wanted.size();
  }
  edited.append(text, done);
  tool_result r;
  const std::string diff = unified_diff(shown, text, edited, found, wanted.size(), replacement.size());
  const bool dry = args.flag("dry_run", false);
  if (!dry) replace_file(w, path, edited);
  r.text = (dry ? "would replace " : "replaced ") + std::to_string(found.size()) +
           (found.size() == 1 ? " occurrence in " : " occurrences in ") + shown + "\n" +
           repaired(clip(diff, page_bytes));
  r.structured = {
      {"path", shown}, {"replacements", found.size()}, {"applied", !dry}, {"diff", repaired(clip(diff, page_bytes))}};
  return r;
}

}  // namespace

void file_write(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  const std::string path = args.path();
  // Not text(): a file may hold NUL.
  const auto content = call->arguments().find("content");
  if (content == call->arguments().end() || !content->is_string())
    throw agent::bad_argument("/content", "content is missing or not a string");
  const std::string encoding = args.text("encoding", "utf-8");
  if (encoding != "utf-8" && encoding != "base64")
    throw agent::bad_argument("/encoding", "encoding is neither utf-8 nor base64");
  std::optional<std::string> decoded;
  if (encoding == "base64") {
    decoded = agent::base64_decode(content->get_ref<const std::string&>());
    if (!decoded) throw agent::bad_argument("/content", "content is not base64");
  }
  const std::string& bytes = decoded ? *decoded : content->get_ref<const std::string&>();
  w.refuse_git_folder(path);
  const bool created = replace_file(w, path, bytes);
  tool_result r;
  const std::string shown = w.relative(path);
  r.text = "wrote " + std::to_string(bytes.size()) + " bytes to " + shown;
  r.structured = {{"path", shown}, {"bytes", bytes.size()}, {"created", created}};
  call->answer(std::move(r));
}

void file_edit(workspace& w, const call_ptr& call) {
  w.job(call, [&w](const tool_call& c) { return edit(w, c); });
}

}  // namespace caged::mcp
