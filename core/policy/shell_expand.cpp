// From raw words to words: brace expansion and field splitting.
#include <core/policy/shell_reader.hpp>

#include <algorithm>

namespace caged::policy::shell {
namespace {

char plain(char c) {
  switch (c) {
    case mark_open:
      return '{';
    case mark_comma:
      return ',';
    case mark_close:
      return '}';
    case mark_split:
      return ' ';
    default:
      return c;
  }
}

// The places of the outermost first brace expression with a comma of its own: open, commas…, close. Empty when there is
// none.
std::vector<std::size_t> brace_expression(std::string_view text) {
  constexpr int most_opens = 64;  // keeps a word of nothing but braces linear
  int opens = 0;
  for (auto open = text.find(mark_open); open != std::string_view::npos && ++opens <= most_opens;
       open = text.find(mark_open, open + 1)) {
    std::vector<std::size_t> places{open};
    int depth = 0;
    for (std::size_t i = open; i < text.size(); ++i) {
      if (text[i] == mark_open) ++depth;
      if (text[i] == mark_comma && depth == 1) places.push_back(i);
      if (text[i] != mark_close || --depth > 0) continue;
      if (places.size() == 1) break;
      places.push_back(i);
      return places;
    }
  }
  return {};
}

std::vector<std::string> expand_braces(const std::string& text, std::size_t most) {
  std::vector<std::string> out{text};
  // Each round expands one expression of one word, so the loop ends when none is left or there are too many words.
  for (std::size_t i = 0; i < out.size() && out.size() <= most;) {
    const auto places = brace_expression(out[i]);
    if (places.empty()) {
      ++i;
      continue;
    }
    const std::string whole = out[i];
    std::vector<std::string> pieces;
    for (std::size_t k = 0; k + 1 < places.size(); ++k) {
      pieces.push_back(whole.substr(0, places.front()) + whole.substr(places[k] + 1, places[k + 1] - places[k] - 1) +
                       whole.substr(places.back() + 1));
    }
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
    out.insert(out.begin() + static_cast<std::ptrdiff_t>(i), pieces.begin(), pieces.end());
  }
  return out;
}

}  // namespace

std::vector<word> expand(const raw_word& raw, std::size_t most) {
  std::vector<word> out;
  for (const auto& text : expand_braces(raw.text, std::min<std::size_t>(most, 64))) {
    std::string field;
    bool exists = false;
    for (const char c : text) {
      if (c == mark_split) {
        if (exists) out.push_back({field, raw.dynamic});
        field.clear();
        exists = false;
      } else {
        exists = true;
        if (c != mark_empty) field += plain(c);
      }
    }
    if (exists) out.push_back({field, raw.dynamic});
    if (out.size() >= most) break;
  }
  return out;
}

word expand_whole(const raw_word& raw) {
  word out{{}, raw.dynamic};
  for (const char c : raw.text) {
    if (c != mark_empty) out.text += plain(c);
  }
  return out;
}

}  // namespace caged::policy::shell
