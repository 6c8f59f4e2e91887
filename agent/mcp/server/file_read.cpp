// file_read: a page of lines, a range of bytes, or a picture.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "fs/entry.hpp"
#include "mcp/server/text_page.hpp"
#include "mcp/server/tools.hpp"

namespace caged::mcp {
namespace {

using agent::fd;
using wire::failed;

constexpr off_t read_at_once = 4 << 20;         // bigger files are read beside the loop
constexpr off_t largest_scan = 256 << 20;       // beyond it lines are not counted
constexpr std::size_t largest_picture = 3 << 20;
constexpr std::size_t base64_page = 30'000;     // 40,000 characters of base64
constexpr std::int64_t largest = std::int64_t{1} << 62;

fd open_regular(const agent::tree& files, const std::string& path, struct stat& st) {
  // Looks before it opens: opening a device can already do something, and a FIFO would wait.
  const fd there = files.open(path, O_PATH);
  const auto refuse = [&](mode_t mode) {
    if (S_ISREG(mode)) return;
    const bool folder = S_ISDIR(mode);
    throw failed("invalid_argument", "not_regular_file",
                 path + " is a " + std::string(folder ? "folder" : agent::type_name(mode)) + ", not a file",
                 folder ? "List it with file_list." : "Only regular files can be read.");
  };
  if (::fstat(there.get(), &st) != 0) throw agent::os_failure(errno, "stat " + path);
  refuse(st.st_mode);
  fd file = files.open(path, O_RDONLY | O_NONBLOCK);
  if (::fstat(file.get(), &st) != 0) throw agent::os_failure(errno, "stat " + path);
  refuse(st.st_mode);
  return file;
}

std::string read_range(const fd& file, off_t at, std::size_t size) {
  std::string out(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(file.get(), out.data() + done, size - done, at + static_cast<off_t>(done));
    if (n < 0) throw agent::os_failure(errno, "read");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return out;
}

const char* picture_type(std::string_view head) {
  if (head.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (head.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (head.starts_with("GIF87a") || head.starts_with("GIF89a")) return "image/gif";
  if (head.size() >= 12 && head.starts_with("RIFF") && head.substr(8, 4) == "WEBP") return "image/webp";
  return nullptr;
}

// Takes a file line by line and keeps one page of it.
class line_page {
 public:
  line_page(std::int64_t first, std::int64_t limit) : first_(first), limit_(limit) {}

  void take(std::string_view piece) {
    while (!piece.empty()) {
      if (line_ < first_ || full_) {
        const auto* newline = static_cast<const char*>(std::memchr(piece.data(), '\n', piece.size()));
        skip(piece, newline);
        continue;
      }
      const std::size_t newline = piece.find('\n');
      const std::string_view part = piece.substr(0, newline == std::string_view::npos ? piece.size() : newline + 1);
      keep(part);
      if (newline != std::string_view::npos)
        end_line();
      else
        open_line_ = true;
      piece.remove_prefix(part.size());
    }
  }

  std::string text;
  std::int64_t last = 0;   // of the page, counted from 1
  bool cut_line = false;   // its only line did not fit
  // Of the page, in the file.
  std::int64_t first_byte() const noexcept { return before_; }
  std::int64_t lines() const noexcept { return line_ - 1 + (open_line_ ? 1 : 0); }
  bool full() const noexcept { return full_; }

 private:
  void skip(std::string_view& piece, const char* newline) {
    open_line_ = newline == nullptr;
    const std::size_t skipped = newline == nullptr ? piece.size() : static_cast<std::size_t>(newline - piece.data()) + 1;
    if (line_ < first_) before_ += static_cast<std::int64_t>(skipped);
    if (newline != nullptr) ++line_;
    piece.remove_prefix(skipped);
  }
  void keep(std::string_view part) {
    if (text.size() + part.size() > page_bytes) {
      full_ = true;
      // Whole lines only, unless a single one is more than a page.
      if (line_start_ > 0) {
        text.resize(line_start_);
        last = line_ - 1;
      } else {
        text += part.substr(0, page_bytes - text.size());
        text.resize(without_half(text).size());
        last = line_;
        cut_line = true;
      }
      return;
    }
    text += part;
    last = line_;
  }
  void end_line() {
    open_line_ = false;
    ++line_;
    line_start_ = text.size();
    if (line_ - first_ >= limit_) full_ = true;
  }

  std::int64_t first_, limit_, line_ = 1, before_ = 0;
  std::size_t line_start_ = 0;
  bool full_ = false, open_line_ = false;
};

std::int64_t count_lines(const fd& file) {
  line_page counter(largest, 1);
  std::array<char, 64 << 10> piece;
  off_t at = 0;
  for (ssize_t n = 0; at < largest_scan && (n = ::pread(file.get(), piece.data(), piece.size(), at)) > 0; at += n)
    counter.take(std::string_view(piece.data(), static_cast<std::size_t>(n)));
  return counter.lines();
}

failed is_binary(const std::string& path, off_t size) {
  return failed("invalid_argument", "binary_file", path + " is not text (" + std::to_string(size) + " bytes)",
                "Read it with encoding \"base64\", or use a command that understands it.");
}

tool_result read_lines(const fd& file, const std::string& path, const struct stat& st, std::int64_t offset,
                       std::int64_t limit, const std::atomic<bool>& cancelled) {
  if (offset < 0) {
    if (st.st_size > largest_scan)
      throw agent::bad_argument("/offset", "the file is too big to count lines from its end", "Use byte_offset.");
    offset = std::max<std::int64_t>(1, count_lines(file) + offset + 1);
  }
  line_page page(offset, limit);
  std::array<char, 64 << 10> piece;
  off_t at = 0;
  bool whole = false;
  while (at < largest_scan && !cancelled) {
    const ssize_t n = ::pread(file.get(), piece.data(), piece.size(), at);
    if (n < 0) throw agent::os_failure(errno, "read " + path);
    if (n == 0) {
      whole = true;
      break;
    }
    const std::string_view part(piece.data(), static_cast<std::size_t>(n));
    if (at == 0 && std::memchr(part.data(), 0, std::min<std::size_t>(part.size(), 8192)) != nullptr)
      throw is_binary(path, st.st_size);
    page.take(part);
    at += n;
    // A regular file that was read to its size has ended; the call that would say so is saved.
    if (at == st.st_size) {
      whole = true;
      break;
    }
  }
  if (page.text.empty() && offset > 1 && whole)
    throw agent::bad_argument("/offset", "the file has " + std::to_string(page.lines()) + " lines",
                              "Start at one of them.");
  tool_result r;
  const std::int64_t end_byte = page.first_byte() + static_cast<std::int64_t>(page.text.size());
  const bool lossy = !agent::valid_utf8(page.text);
  if (lossy) page.text = repaired(page.text);
  const bool more = page.cut_line || page.last < page.lines() || !whole;
  r.structured = {{"path", path},
                  {"size", st.st_size},
                  {"first_line", offset},
                  {"last_line", page.last},
                  {"truncated", more || offset > 1}};
  if (whole) r.structured["total_lines"] = page.lines();
  if (lossy) r.structured["lossy"] = true;
  r.text = page.text;
  r.structured["content"] = std::move(page.text);
  if (!more && offset == 1) return r;
  std::string note = "\n[lines " + std::to_string(offset) + "-" + std::to_string(page.last) + " of " +
                     (whole ? std::to_string(page.lines()) : std::string("more than ") + std::to_string(page.lines()));
  if (page.cut_line) {
    r.structured["next_byte_offset"] = end_byte;
    note += "; line " + std::to_string(page.last) + " is cut, go on with byte_offset " + std::to_string(end_byte);
  } else if (more) {
    r.structured["next_offset"] = page.last + 1;
    note += "; go on with offset " + std::to_string(page.last + 1);
  }
  r.text += note + "]";
  return r;
}

tool_result read_bytes(const fd& file, const std::string& path, const struct stat& st, std::int64_t at,
                       std::int64_t limit, bool base64) {
  if (at > st.st_size)
    throw agent::bad_argument("/byte_offset", "the file has " + std::to_string(st.st_size) + " bytes",
                              "Start at one of them.");
  const auto most = static_cast<std::int64_t>(base64 ? base64_page : page_bytes);
  std::string bytes = read_range(file, at, static_cast<std::size_t>(std::min(limit, most)));
  if (!base64) {
    if (bytes.find('\0') != std::string::npos) throw is_binary(path, st.st_size);
    if (bytes.size() == page_bytes) bytes.resize(without_half(bytes).size());
  }
  const auto next = at + static_cast<std::int64_t>(bytes.size());
  tool_result r;
  r.text = base64 ? agent::base64_encode(bytes) : repaired(bytes);
  r.structured = {{"path", path},
                  {"size", st.st_size},
                  {"byte_offset", at},
                  {"content", r.text},
                  {"truncated", next < st.st_size || at > 0}};
  if (base64) r.structured["encoding"] = "base64";
  if (next >= st.st_size) return r;
  r.structured["next_byte_offset"] = next;
  r.text += "\n[bytes " + std::to_string(at) + "-" + std::to_string(next) + " of " + std::to_string(st.st_size) +
            "; go on with byte_offset " + std::to_string(next) + "]";
  return r;
}

tool_result read_file(const workspace& w, const tool_call& call) {
  const agent::arguments args(call.arguments());
  const std::string path = args.path();
  const auto offset = args.number("offset", -1'000'000'000, 1'000'000'000, 1);
  const auto limit = args.number("limit", 1, 1'000'000, 1'000'000);
  const std::string encoding = args.text("encoding", "utf-8");
  if (encoding != "utf-8" && encoding != "base64")
    throw agent::bad_argument("/encoding", "encoding is neither utf-8 nor base64");
  if (offset == 0) throw agent::bad_argument("/offset", "offset is 0", "Lines count from 1; -20 means the last 20.");
  const bool bytes = args.has("byte_offset") || args.has("byte_limit") || encoding == "base64";
  const auto byte_offset = args.number("byte_offset", 0, largest, 0);
  const auto byte_limit = args.number("byte_limit", 1, largest, largest);
  struct stat st {};
  const fd file = open_regular(w.files(), path, st);
  const std::string shown = w.relative(path);
  if (bytes) return read_bytes(file, shown, st, byte_offset, byte_limit, encoding == "base64");
  char head[16] = {};
  const ssize_t n = ::pread(file.get(), head, sizeof head, 0);
  const char* type = n <= 0 ? nullptr : picture_type(std::string_view(head, static_cast<std::size_t>(n)));
  if (type == nullptr) return read_lines(file, shown, st, offset, limit, call.cancelled());
  if (static_cast<std::size_t>(st.st_size) > largest_picture)
    throw failed("too_large", "picture_too_large",
                 shown + " is a picture of " + std::to_string(st.st_size) + " bytes; at most 3 MiB are shown",
                 "Make a smaller copy of it first.");
  tool_result r;
  r.picture = tool_result::image{type, agent::base64_encode(read_range(file, 0, static_cast<std::size_t>(st.st_size)))};
  r.structured = {{"path", shown}, {"size", st.st_size}, {"mime_type", type}, {"truncated", false}};
  return r;
}

}  // namespace

void file_read(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  struct stat st {};
  const fd there = w.files().open(args.path(), O_PATH);
  if (::fstat(there.get(), &st) == 0 && st.st_size > read_at_once)
    return w.job(call, [&w](const tool_call& c) { return read_file(w, c); });
  call->answer(read_file(w, *call));
}

}  // namespace caged::mcp
