#include "mcp/server/unified_diff.hpp"

#include <algorithm>
#include <string_view>

namespace caged::mcp {
namespace {

constexpr std::size_t context = 3;

struct lines {
  explicit lines(std::string_view all) : text(all) {
    for (std::size_t at = 0; at < text.size();) {
      starts.push_back(at);
      const std::size_t newline = text.find('\n', at);
      at = newline == std::string_view::npos ? text.size() : newline + 1;
    }
  }
  std::size_t count() const { return starts.size(); }
  // The line that holds the byte `at`; the number of lines for the end of a text that ends in a newline.
  std::size_t of(std::size_t at) const {
    if (at >= text.size()) return text.empty() || text.back() == '\n' ? count() : count() - 1;
    return static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), at) - starts.begin()) - 1;
  }
  std::string_view line(std::size_t i) const {
    return text.substr(starts[i], (i + 1 < count() ? starts[i + 1] : text.size()) - starts[i]);
  }
  std::string_view text;
  std::vector<std::size_t> starts;
};

// Lines [old_from, old_to) became [new_from, new_to).
struct change {
  std::size_t old_from, old_to, new_from, new_to;
};

void put(std::string& out, char mark, std::string_view line) {
  out += mark;
  out += line;
  if (line.empty() || line.back() != '\n') out += "\n\\ No newline at end of file\n";
}

std::string range(std::size_t from, std::size_t size) {
  return std::to_string(size == 0 ? from : from + 1) + "," + std::to_string(size);
}

bool whole(const lines& l, std::size_t end) { return end == 0 || l.text[end - 1] == '\n'; }

std::vector<change> changes_of(const lines& old_lines, const lines& new_lines, const std::vector<std::size_t>& places,
                               std::size_t old_size, std::size_t new_size) {
  std::vector<change> out;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t old_begin = places[i], new_begin = places[i] - i * old_size + i * new_size;
    change c{old_lines.of(old_begin), 0, new_lines.of(new_begin), 0};
    const std::size_t old_end = old_begin + old_size, new_end = new_begin + new_size;
    if (whole(old_lines, old_end) && whole(new_lines, new_end)) {
      c.old_to = old_lines.of(old_end);
      c.new_to = new_lines.of(new_end);
    } else {
      // Up to the end of the line in which the replaced text ends; both texts go on alike from there.
      c.old_to = std::min(old_lines.of(old_end) + 1, old_lines.count());
      c.new_to = std::min(new_lines.of(new_end) + 1, new_lines.count());
    }
    if (!out.empty() && c.old_from < out.back().old_to) {
      out.back().old_to = std::max(out.back().old_to, c.old_to);
      out.back().new_to = std::max(out.back().new_to, c.new_to);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

std::string unified_diff(const std::string& path, const std::string& before, const std::string& after,
                         const std::vector<std::size_t>& places, std::size_t old_size, std::size_t new_size) {
  const lines old_lines(before), new_lines(after);
  const auto changes = changes_of(old_lines, new_lines, places, old_size, new_size);
  std::string out = "--- a/" + path + "\n+++ b/" + path + "\n";
  for (std::size_t i = 0; i < changes.size();) {
    std::size_t last = i;
    while (last + 1 < changes.size() && changes[last + 1].old_from <= changes[last].old_to + 2 * context) ++last;
    const std::size_t before_first = std::min(context, changes[i].old_from);
    const std::size_t after_last = std::min(context, old_lines.count() - changes[last].old_to);
    const std::size_t old_from = changes[i].old_from - before_first, new_from = changes[i].new_from - before_first;
    out += "@@ -" + range(old_from, changes[last].old_to + after_last - old_from) + " +" +
           range(new_from, changes[last].new_to + after_last - new_from) + " @@\n";
    std::size_t at = old_from;
    for (; i <= last; ++i) {
      for (; at < changes[i].old_from; ++at) put(out, ' ', old_lines.line(at));
      for (; at < changes[i].old_to; ++at) put(out, '-', old_lines.line(at));
      for (std::size_t n = changes[i].new_from; n < changes[i].new_to; ++n) put(out, '+', new_lines.line(n));
    }
    for (const std::size_t end = at + after_last; at < end; ++at) put(out, ' ', old_lines.line(at));
  }
  return out;
}

}  // namespace caged::mcp
