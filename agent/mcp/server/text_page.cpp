#include "mcp/server/text_page.hpp"

#include "arguments.hpp"

namespace caged::mcp {

std::string_view clip(std::string_view text, std::size_t limit) noexcept {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  for (int back = 0; back < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80; ++back) --end;
  return text.substr(0, end);
}

std::string_view without_half(std::string_view text) noexcept {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xc0) == 0x80) continue;
    const std::size_t needed = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return needed > back ? text.substr(0, text.size() - back) : text;
  }
  return text;
}

std::string repaired(std::string_view text) {
  if (agent::valid_utf8(text)) return std::string(text);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 1;
    while (length <= 4 && at + length <= text.size() && !agent::valid_utf8(text.substr(at, length))) ++length;
    if (length <= 4 && at + length <= text.size()) {
      out.append(text, at, length);
      at += length;
    } else {
      out += "\xef\xbf\xbd";
      ++at;
    }
  }
  return out;
}

std::string plain(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c == 0x1b && at + 1 < text.size()) {
      const char kind = text[++at];
      if (kind == '[') {
        while (at + 1 < text.size() && !(text[at + 1] >= '@' && text[at + 1] <= '~')) ++at;
        ++at;
      } else if (kind == ']' || kind == 'P' || kind == '_' || kind == '^') {
        // Up to BEL or ESC \; a string that never ends takes the rest of this piece with it.
        while (at + 1 < text.size() && text[at + 1] != '\a' && text[at + 1] != '\x1b') ++at;
        if (at + 1 < text.size() && text[++at] == '\x1b') ++at;
      }
      continue;
    }
    if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') continue;
    if (c >= 0x20 ? c != 0x7f : c == '\n' || c == '\t' || c == '\r') out += text[at];
  }
  return repaired(out);
}

void head_and_tail::append(std::string_view bytes) {
  total_ += bytes.size();
  const std::size_t room = half_ - head_.size();
  head_.append(bytes.substr(0, room));
  if (bytes.size() <= room) return;
  tail_.append(bytes.substr(room));
  // Trimmed rarely, so that each byte is moved once on average.
  if (tail_.size() > 4 * half_) tail_.erase(0, tail_.size() - half_);
}

std::string head_and_tail::text() const {
  if (!cut()) return plain(head_ + tail_);
  const std::string_view tail = std::string_view(tail_).substr(tail_.size() - tail_size());
  return plain(head_) + "\n[… " + std::to_string(total_ - head_.size() - tail_size()) + " bytes left out …]\n" +
         plain(tail);
}

}  // namespace caged::mcp
