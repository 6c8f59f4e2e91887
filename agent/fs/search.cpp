#include "fs/search.hpp"

#include <dirent.h>
#include <pthread.h>
#include <re2/re2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
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
constexpr std::size_t first_batch = 512;            // files searched side by side; each batch is twice the last
constexpr std::size_t largest_batch = 8192;
constexpr std::size_t batch_folders = 256;          // held open for them
constexpr std::size_t most_threads = 4;

// A name with its type behind it, as the file system told: sorted as names are, and looked at no more than needed.
struct named {
  explicit named(const std::string& packed)
      : name(packed, 0, packed.size() - 2), type(static_cast<mode_t>(DTTOIF(packed.back()))) {}
  std::string name;
  mode_t type;  // S_IFREG and so on; 0: not told

  static std::string pack(const dirent& entry) {
    std::string packed = entry.d_name;
    packed += '\0';
    packed += static_cast<char>(entry.d_type);
    return packed;
  }
};

// Packed, in order of names. Throws a failure when the folder cannot be read.
std::vector<std::string> entries_in(int folder, bool& more) {
  std::vector<std::string> entries;
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (listing == nullptr) {
    if (copy >= 0) ::close(copy);
    throw os_failure(errno, "read the folder");
  }
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entries.size() >= max_names) {
      more = true;
      break;
    }
    entries.push_back(named::pack(*entry));
  }
  ::closedir(listing);
  std::sort(entries.begin(), entries.end());
  return entries;
}

// Walks a folder in order of names; follows no symlink.
class walker {
 public:
  struct found {
    const std::shared_ptr<fd>& folder;
    const std::string& name;
    const std::string& path;  // relative to where the walk began
    mode_t type;
  };
  enum class gitignore : std::uint8_t { unset = 0, respected, disregarded };
  // False from `use` ends the walk.
  walker(gitignore how, const std::atomic<bool>& cancelled, steady::time_point until,
         std::function<bool(const found&)> use)
      : how_(how), cancelled_(cancelled), until_(until), use_(std::move(use)) {}

  void walk(fd folder) { enter(std::make_shared<fd>(std::move(folder)), "", 0); }
  const char* stopped_by() const noexcept { return stopped_by_; }  // nullptr: it saw everything

 private:
  bool enter(std::shared_ptr<fd> folder, const std::string& path, int depth) {
    const std::size_t rules_before = rules_.size();
    bool more = false, go_on = true;
    std::vector<std::string> names;
    try {
      names = entries_in(folder->get(), more);
    } catch (const failed&) {
      return true;  // not ours to read
    }
    bool has_rules = false;
    for (const std::string& name : names) has_rules = has_rules || std::strcmp(name.c_str(), ".gitignore") == 0;
    if (how_ == gitignore::respected && has_rules) read_rules(folder->get(), path);
    for (std::size_t i = 0; i < names.size() && go_on; ++i) go_on = visit(folder, named(names[i]), path, depth);
    if (more && go_on) stopped_by_ = "entries";
    rules_.shrink(rules_before);
    return go_on;
  }

  bool visit(const std::shared_ptr<fd>& folder, const named& entry, const std::string& parent, int depth) {
    if (cancelled_) throw failed("cancelled", "cancelled", "the request was cancelled");
    if (++seen_ > max_entries) return stop("entries");
    if ((seen_ & 31) == 0 && steady::now() > until_) return stop("time");
    mode_t type = entry.type;
    if (type == 0) {
      struct stat st {};
      if (::fstatat(folder->get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return true;
      type = st.st_mode & S_IFMT;
    }
    const std::string path = parent.empty() ? entry.name : parent + "/" + entry.name;
    if (entry.name == ".git" && S_ISDIR(type)) return true;
    if (how_ == gitignore::respected && rules_.judge(path, S_ISDIR(type)) == ignore_rules::verdict::ignored)
      return true;
    if (!use_(found{folder, entry.name, path, type})) return false;
    if (!S_ISDIR(type)) return true;
    if (depth >= max_walk_depth) {
      stopped_by_ = "depth";
      return true;
    }
    fd below = open_folder(folder->get(), entry.name);
    return !below || enter(std::make_shared<fd>(std::move(below)), path, depth + 1);
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
std::optional<std::string> read_text(int folder, const std::string& name) {
  const fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > static_cast<off_t>(max_file))
    return std::nullopt;
  // What says that it is empty may be of a kind that does not know its size.
  std::string text(st.st_size > 0 ? static_cast<std::size_t>(st.st_size) : 64u << 10, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + done, text.size() - done);
    if (n <= 0) break;
    if (done == 0 &&
        std::memchr(text.data(), 0, std::min<std::size_t>(static_cast<std::size_t>(n), binary_probe)) != nullptr)
      return std::nullopt;
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  return text;
}

class line_search {
 public:
  // `plain`: what every match holds, "" when that is not known.
  line_search(const arguments& args, const re2::RE2& expression, std::string plain)
      : expression_(expression),
        plain_(std::move(plain)),
        limit_(static_cast<std::size_t>(args.number("limit", 1, 20000, 1000))),
        max_line_(static_cast<std::size_t>(args.number("max_line", 20, 10000, 400))),
        context_(static_cast<std::size_t>(args.number("context", 0, 20, 0))) {}

  struct hits {
    std::vector<json> rows;
    std::size_t bytes = 0;
    bool searched = false;
  };

  // Thread-safe.
  hits search(const std::string& path, const std::string& text) const {
    hits found;
    found.searched = true;
    if (!plain_.empty() && ::memmem(text.data(), text.size(), plain_.data(), plain_.size()) == nullptr) return found;
    std::size_t line = 1, line_start = 0;
    for (std::size_t at = 0; at <= text.size();) {
      re2::StringPiece hit;
      if (!expression_.Match(text, at, text.size(), re2::RE2::UNANCHORED, &hit, 1)) break;
      const auto begin = static_cast<std::size_t>(hit.data() - text.data());
      if (begin >= text.size() && !text.empty()) break;  // an empty match behind the last line
      for (std::size_t newline = text.find('\n', line_start); newline != std::string::npos && newline < begin;
           newline = text.find('\n', line_start)) {
        ++line;
        line_start = newline + 1;
      }
      const std::size_t line_end = std::min(text.find('\n', begin), text.size());
      add(found, path, line, begin, text, line_start, line_end);
      if (found.rows.size() >= limit_ || found.bytes > max_answer) break;
      at = line_end + 1;
    }
    return found;
  }

  // In the order of the files. False: stop the walk.
  bool take(hits found) {
    if (found.searched) ++files_;
    bytes_ += found.bytes;
    for (json& row : found.rows) {
      matches_.push_back(std::move(row));
      if (matches_.size() >= limit_) {
        stopped_by_ = "limit";
        return false;
      }
    }
    if (bytes_ > max_answer) stopped_by_ = "bytes";
    return stopped_by_ == nullptr;
  }

  json finish(std::size_t skipped, const char* walk_stopped) {
    const char* by = stopped_by_ != nullptr ? stopped_by_ : walk_stopped;
    json value{{"files_searched", files_}, {"files_skipped", skipped}, {"truncated", by != nullptr}};
    value["matches"] = std::move(matches_);
    if (by != nullptr) value["stopped_by"] = by;
    return value;
  }

 private:
  void add(hits& found, const std::string& path, std::size_t line, std::size_t begin, const std::string& text,
           std::size_t start, std::size_t end) const {
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
    if (context_ != 0) add_context(found, row, text, start, end);
    found.bytes += size + path.size() + 80;
    found.rows.push_back(std::move(row));
  }

  // The lines around one that begins at `start` and ends at `end`, in their order.
  void add_context(hits& found, json& row, const std::string& text, std::size_t start, std::size_t end) const {
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
      for (const auto& line : *lines) found.bytes += line.size();
    row["before"] = std::move(before);
    row["after"] = std::move(after);
  }

  const re2::RE2& expression_;
  const std::string plain_;
  std::size_t limit_, max_line_, context_, files_ = 0, bytes_ = 0;
  json matches_ = json::array();
  const char* stopped_by_ = nullptr;
};

// Files of a walk, read and searched side by side, told in the order of the walk.
class batch {
 public:
  explicit batch(line_search& lines) : lines_(lines) {}

  // False: stop the walk.
  bool add(const walker::found& f) {
    if (files_.empty() || files_.back().folder != f.folder) ++folders_;
    files_.push_back({f.folder, f.name, f.path, {}});
    return files_.size() < size_ && folders_ < batch_folders ? true : run();
  }
  bool run() {
    next_ = 0;
    const long processors = ::sysconf(_SC_NPROCESSORS_ONLN);
    const std::size_t wanted = std::min<std::size_t>(processors > 1 ? static_cast<std::size_t>(processors) : 1,
                                                     std::min(most_threads, 1 + files_.size() / 32));
    pthread_t helpers[most_threads];
    std::size_t started = 0;
    // As many as the limits allow; this thread alone would do it, too.
    while (started + 1 < wanted && ::pthread_create(&helpers[started], nullptr, help, this) == 0) ++started;
    work();
    for (std::size_t i = 0; i < started; ++i) ::pthread_join(helpers[i], nullptr);
    bool go_on = true;
    for (candidate& c : files_) {
      if (!c.found.searched) ++skipped_;
      if (go_on) go_on = lines_.take(std::move(c.found));
    }
    files_.clear();
    folders_ = 0;
    size_ = std::min(2 * size_, largest_batch);
    return go_on;
  }
  std::size_t skipped() const noexcept { return skipped_; }

 private:
  static void* help(void* self) {
    static_cast<batch*>(self)->work();
    return nullptr;
  }
  void work() {
    for (std::size_t i = next_++; i < files_.size(); i = next_++) {
      candidate& c = files_[i];
      if (const auto text = read_text(c.folder->get(), c.name)) c.found = lines_.search(c.path, *text);
    }
  }

  struct candidate {
    std::shared_ptr<fd> folder;
    std::string name, path;
    line_search::hits found;
  };
  line_search& lines_;
  std::vector<candidate> files_;
  std::atomic<std::size_t> next_ = 0;
  std::size_t folders_ = 0, skipped_ = 0, size_ = first_batch;
};

// Whether the expression is nothing but its own text.
bool is_plain(const std::string& pattern) { return pattern.find_first_of("\\^$.|?*+()[]{}\n") == std::string::npos; }

}  // namespace

json glob_files(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const path_pattern pattern(args.text("pattern"));
  const auto limit = static_cast<std::size_t>(args.number("limit", 1, 50000, 5000));
  fd folder = files.open(args.path("path", "."), O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  json paths = json::array();
  bool full = false;
  walker w(gitignore_of(args, false), cancelled, deadline(args), [&](const walker::found& f) {
    if (!pattern.matches(f.path)) return true;
    if (paths.size() >= limit) return full = true, false;
    json row = json::object();
    put_path(row, "path", f.path);
    row["type"] = type_name(f.type);
    paths.push_back(std::move(row));
    return true;
  });
  w.walk(std::move(folder));
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
  const bool plain = !args.flag("ignore_case", false) && (args.flag("literal", false) || is_plain(pattern));
  line_search lines(args, expression, plain ? pattern : "");
  const fd there = files.open(path, O_PATH);
  struct stat st {};
  if (::fstat(there.get(), &st) != 0) throw os_failure(errno, "stat " + files.shown(path));
  if (S_ISREG(st.st_mode)) {
    std::string name;
    const fd parent = files.open_parent(path, name);
    const auto text = read_text(parent.get(), name);
    if (text) lines.take(lines.search(name, *text));
    return lines.finish(text ? 0 : 1, nullptr);
  }
  fd folder = files.open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  batch together(lines);
  bool full = false;
  walker w(gitignore_of(args, true), cancelled, until, [&](const walker::found& f) {
    if (!S_ISREG(f.type) || (only && !only->matches(f.path))) return true;
    full = !together.add(f);
    return !full;
  });
  w.walk(std::move(folder));
  if (!full) together.run();
  return lines.finish(together.skipped(), w.stopped_by());
}

}  // namespace caged::agent
