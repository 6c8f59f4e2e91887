#include "fs/search.hpp"

#include <re2/re2.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "fs/entry.hpp"
#include "fs/pattern.hpp"
#include "loop.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_entries = 2'000'000;      // looked at in one walk
constexpr std::size_t max_names = 200'000;          // of one folder
constexpr std::size_t max_file = 16u << 20;         // bigger files are skipped and counted
constexpr std::size_t max_answer = 4u << 20;
constexpr std::size_t binary_probe = 8192;
constexpr std::int64_t regex_memory = 8 << 20;

// Walks a folder in order of names; follows no symlink.
class walker {
 public:
  struct found {
    int folder;
    const std::string& name;
    const std::string& path;  // relative to where the walk began
    const struct stat& st;
  };
  enum class gitignore : std::uint8_t { unset = 0, respected, disregarded };
  // False from `use` ends the walk.
  walker(gitignore how, const std::atomic<bool>& cancelled, steady::time_point until,
         std::function<bool(const found&)> use)
      : how_(how), cancelled_(cancelled), until_(until), use_(std::move(use)) {}

  void walk(int folder) { enter(folder, "", 0); }
  const char* stopped_by() const noexcept { return stopped_by_; }  // nullptr: it saw everything

 private:
  bool enter(int folder, const std::string& path, int depth) {
    const std::size_t rules_before = rules_.size();
    if (how_ == gitignore::respected) read_rules(folder, path);
    bool more = false, go_on = true;
    std::vector<std::string> names;
    try {
      names = names_in(folder, max_names, more);
    } catch (const failed&) {
      return true;  // not ours to read
    }
    for (std::size_t i = 0; i < names.size() && go_on; ++i) go_on = visit(folder, names[i], path, depth);
    if (more && go_on) stopped_by_ = "entries";
    rules_.shrink(rules_before);
    return go_on;
  }

  bool visit(int folder, const std::string& name, const std::string& parent, int depth) {
    if (cancelled_) throw failed("cancelled", "cancelled", "the request was cancelled");
    if (++seen_ > max_entries) return stop("entries");
    if ((seen_ & 31) == 0 && steady::now() > until_) return stop("time");
    struct stat st {};
    if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return true;
    const std::string path = parent.empty() ? name : parent + "/" + name;
    if (name == ".git" && S_ISDIR(st.st_mode)) return true;
    if (how_ == gitignore::respected && rules_.judge(path, S_ISDIR(st.st_mode)) == ignore_rules::verdict::ignored)
      return true;
    if (!use_(found{folder, name, path, st})) return false;
    if (!S_ISDIR(st.st_mode)) return true;
    if (depth >= max_walk_depth) {
      stopped_by_ = "depth";
      return true;
    }
    const fd below = open_folder(folder, name);
    return !below || enter(below.get(), path, depth + 1);
  }

  bool stop(const char* by) {
    stopped_by_ = by;
    return false;
  }

  void read_rules(int folder, const std::string& path) {
    const fd file(::openat(folder, ".gitignore", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat st {};
    if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (1 << 20)) return;
    std::string text(static_cast<std::size_t>(st.st_size), '\0');
    const ssize_t n = ::read(file.get(), text.data(), text.size());
    if (n > 0) rules_.add(path, std::string_view(text).substr(0, static_cast<std::size_t>(n)));
  }

  gitignore how_;
  const std::atomic<bool>& cancelled_;
  steady::time_point until_;
  std::function<bool(const found&)> use_;
  ignore_rules rules_;
  std::size_t seen_ = 0;
  const char* stopped_by_ = nullptr;
};

steady::time_point deadline(const arguments& args) {
  return steady::now() + std::chrono::milliseconds(args.number("timeout_ms", 1, 600000, 20000));
}

walker::gitignore gitignore_of(const arguments& args, bool otherwise) {
  return args.flag("respect_gitignore", otherwise) ? walker::gitignore::respected : walker::gitignore::disregarded;
}

// A file's text, nothing for one that is binary, too big or not a file.
std::optional<std::string> read_text(const walker::found& f) {
  if (!S_ISREG(f.st.st_mode) || f.st.st_size > static_cast<off_t>(max_file)) return std::nullopt;
  const fd file(::openat(f.folder, f.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  std::string text;
  char piece[64u << 10];
  for (ssize_t n = 0; text.size() < max_file && (n = ::read(file.get(), piece, sizeof piece)) > 0;) {
    const bool first = text.empty();
    if (first && std::memchr(piece, 0, std::min<std::size_t>(static_cast<std::size_t>(n), binary_probe)) != nullptr)
      return std::nullopt;
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

class line_search {
 public:
  line_search(const arguments& args, const re2::RE2& expression, steady::time_point until)
      : expression_(expression),
        until_(until),
        limit_(static_cast<std::size_t>(args.number("limit", 1, 20000, 1000))),
        max_line_(static_cast<std::size_t>(args.number("max_line", 20, 10000, 400))),
        context_(static_cast<std::size_t>(args.number("context", 0, 20, 0))) {}

  // False: stop the walk.
  bool search(const std::string& path, const std::string& text) {
    ++files_;
    std::size_t line = 1, line_start = 0;
    for (std::size_t at = 0; at <= text.size();) {
      re2::StringPiece hit;
      if (!expression_.Match(text, at, text.size(), re2::RE2::UNANCHORED, &hit, 1)) return true;
      const auto begin = static_cast<std::size_t>(hit.data() - text.data());
      if (begin >= text.size() && !text.empty()) return true;  // an empty match behind the last line
      for (std::size_t newline = text.find('\n', line_start); newline != std::string::npos && newline < begin;
           newline = text.find('\n', line_start)) {
        ++line;
        line_start = newline + 1;
      }
      const std::size_t line_end = std::min(text.find('\n', begin), text.size());
      if (!add(path, line, begin, text, line_start, line_end)) return false;
      at = line_end + 1;
    }
    return true;
  }

  json finish(std::size_t skipped, const char* walk_stopped) {
    const char* by = stopped_by_ != nullptr ? stopped_by_ : walk_stopped;
    json value{{"files_searched", files_}, {"files_skipped", skipped}, {"truncated", by != nullptr}};
    value["matches"] = std::move(matches_);
    if (by != nullptr) value["stopped_by"] = by;
    return value;
  }

 private:
  bool add(const std::string& path, std::size_t line, std::size_t begin, const std::string& text, std::size_t start,
           std::size_t end) {
    std::size_t from = start, size = end - start;
    const bool cut = size > max_line_;
    if (cut) {
      // Around the match, not the beginning of a minified file.
      from = begin - start > max_line_ / 2 ? begin - max_line_ / 4 : start;
      size = std::min(max_line_, end - from);
    }
    json row{{"line", line}, {"column", begin - start + 1}, {"text", text.substr(from, size)}};
    put_path(row, "path", path);
    if (cut) row["cut"] = true;
    if (context_ != 0) add_context(row, text, start, end);
    bytes_ += size + path.size() + 80;
    matches_.push_back(std::move(row));
    if (matches_.size() >= limit_)
      stopped_by_ = "limit";
    else if (bytes_ > max_answer)
      stopped_by_ = "bytes";
    else if ((matches_.size() & 63) == 0 && steady::now() > until_)
      stopped_by_ = "time";
    return stopped_by_ == nullptr;
  }

  // The lines around one that begins at `start` and ends at `end`, in their order.
  void add_context(json& row, const std::string& text, std::size_t start, std::size_t end) {
    std::vector<std::string> before;
    for (std::size_t at = start; at > 0 && before.size() < context_;) {
      const std::size_t newline = at >= 2 ? text.rfind('\n', at - 2) : std::string::npos;
      const std::size_t from = newline == std::string::npos ? 0 : newline + 1;
      before.push_back(text.substr(from, std::min(max_line_, at - 1 - from)));
      at = from;
    }
    std::reverse(before.begin(), before.end());
    std::vector<std::string> after;
    for (std::size_t at = end + 1; at < text.size() && after.size() < context_;) {
      const std::size_t until = std::min(text.find('\n', at), text.size());
      after.push_back(text.substr(at, std::min(max_line_, until - at)));
      at = until + 1;
    }
    for (const auto* lines : {&before, &after})
      for (const auto& line : *lines) bytes_ += line.size();
    row["before"] = std::move(before);
    row["after"] = std::move(after);
  }

  const re2::RE2& expression_;
  steady::time_point until_;
  std::size_t limit_, max_line_, context_, files_ = 0, bytes_ = 0;
  json matches_ = json::array();
  const char* stopped_by_ = nullptr;
};

}  // namespace

json glob_files(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const path_pattern pattern(args.text("pattern"));
  const auto limit = static_cast<std::size_t>(args.number("limit", 1, 50000, 5000));
  const fd folder = files.open(args.path("path", "."), O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  json paths = json::array();
  bool full = false;
  walker w(gitignore_of(args, false), cancelled, deadline(args), [&](const walker::found& f) {
    if (!pattern.matches(f.path)) return true;
    if (paths.size() >= limit) return full = true, false;
    json row = json::object();
    put_path(row, "path", f.path);
    row["type"] = type_name(f.st.st_mode);
    paths.push_back(std::move(row));
    return true;
  });
  w.walk(folder.get());
  json value{{"truncated", full || w.stopped_by() != nullptr}};
  value["paths"] = std::move(paths);
  if (full || w.stopped_by() != nullptr) value["stopped_by"] = full ? "limit" : w.stopped_by();
  return value;
}

json search_files(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const std::string pattern = args.text("pattern");
  if (pattern.empty() || pattern.size() > 4096)
    throw bad_argument("/pattern", "the pattern is empty or longer than 4096 bytes");
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(regex_memory);
  options.set_literal(args.flag("literal", false));
  options.set_case_sensitive(!args.flag("ignore_case", false));
  options.set_never_nl(true);
  const re2::RE2 expression(args.flag("literal", false) ? pattern : "(?m)" + pattern, options);
  if (!expression.ok())
    throw bad_argument("/pattern", "not a regular expression (RE2 syntax): " + expression.error(),
                       "Set literal to search for the text itself.");
  std::optional<path_pattern> only;
  if (args.has("glob")) only.emplace(args.text("glob"));
  const std::string path = args.path("path", ".");
  const auto until = deadline(args);
  line_search lines(args, expression, until);
  std::size_t skipped = 0;
  const fd there = files.open(path, O_PATH);
  struct stat st {};
  if (::fstat(there.get(), &st) != 0) throw os_failure(errno, "stat " + files.shown(path));
  if (S_ISREG(st.st_mode)) {
    std::string name;
    const fd parent = files.open_parent(path, name);
    const auto text = read_text({parent.get(), name, name, st});
    if (text) lines.search(path, *text);
    return lines.finish(text ? 0 : 1, nullptr);
  }
  const fd folder = files.open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  walker w(gitignore_of(args, true), cancelled, until, [&](const walker::found& f) {
    if (!S_ISREG(f.st.st_mode) || (only && !only->matches(f.path))) return true;
    const auto text = read_text(f);
    if (!text) return ++skipped, true;
    return lines.search(f.path, *text);
  });
  w.walk(folder.get());
  return lines.finish(skipped, w.stopped_by());
}

}  // namespace caged::agent
