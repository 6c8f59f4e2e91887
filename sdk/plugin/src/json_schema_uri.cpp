// The little of RFC 3986 and RFC 6901 that references between schemas need.
#include "json_schema_node.hpp"

namespace caged::schema {
namespace {

struct parts {
  std::string scheme, authority, path, query;
  bool has_authority = false, has_query = false;
};

bool is_scheme(std::string_view text) {
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text[0]))) return false;
  for (const char c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '+' && c != '-' && c != '.') return false;
  return true;
}

parts parse(std::string_view text) {
  parts p;
  if (const auto colon = text.find(':'); colon != std::string_view::npos && is_scheme(text.substr(0, colon))) {
    p.scheme = text.substr(0, colon);
    text.remove_prefix(colon + 1);
  }
  if (text.substr(0, 2) == "//") {
    text.remove_prefix(2);
    const auto end = text.find_first_of("/?");
    p.has_authority = true;
    p.authority = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end);
  }
  if (const auto question = text.find('?'); question != std::string_view::npos) {
    p.has_query = true;
    p.query = text.substr(question + 1);
    text = text.substr(0, question);
  }
  p.path = text;
  return p;
}

std::string print(const parts& p) {
  std::string out;
  if (!p.scheme.empty()) out += p.scheme + ":";
  if (p.has_authority) out += "//" + p.authority;
  out += p.path;
  if (p.has_query) out += "?" + p.query;
  return out;
}

std::string remove_dots(std::string_view path) {
  std::vector<std::string_view> kept;
  const bool absolute = !path.empty() && path[0] == '/';
  bool trailing = false;
  for (std::size_t at = absolute ? 1 : 0; at <= path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    const auto segment = path.substr(at, end - at);
    trailing = segment == "." || segment == "..";
    if (segment == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (segment != ".") {
      kept.push_back(segment);
    }
    at = end + 1;
  }
  std::string out = absolute ? "/" : "";
  for (std::size_t i = 0; i < kept.size(); ++i) out += (i ? "/" : "") + std::string(kept[i]);
  if (trailing && !kept.empty()) out += "/";
  return out;
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::pair<std::string, std::string> split_fragment(std::string_view uri) {
  const auto hash = uri.find('#');
  if (hash == std::string_view::npos) return {std::string(uri), std::string()};
  return {std::string(uri.substr(0, hash)), std::string(uri.substr(hash + 1))};
}

std::string resolve_uri(std::string_view base_text, std::string_view reference) {
  const auto [without, fragment] = split_fragment(reference);
  const std::string tail = fragment.empty() ? std::string() : "#" + fragment;
  const auto base_uri = split_fragment(base_text).first;
  if (without.empty()) return base_uri + tail;
  parts r = parse(without);
  const parts base = parse(base_uri);
  if (r.scheme.empty()) {
    r.scheme = base.scheme;
    if (!r.has_authority) {
      r.has_authority = base.has_authority;
      r.authority = base.authority;
      if (r.path.empty()) {
        r.path = base.path;
        if (!r.has_query) r.has_query = base.has_query, r.query = base.query;
      } else if (r.path[0] != '/') {
        const auto slash = base.path.rfind('/');
        const bool rooted = base.has_authority && base.path.empty();
        r.path = (rooted ? "/" : base.path.substr(0, slash == std::string::npos ? 0 : slash + 1)) + r.path;
      }
    }
  }
  if (!r.path.empty() && (r.has_authority || r.path[0] == '/')) r.path = remove_dots(r.path);
  return print(r) + tail;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string escape_pointer_token(std::string_view token) {
  std::string out;
  for (const char c : token) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

}  // namespace caged::schema
