#include "core/network/rules.hpp"

#include <libpsl.h>

#include <algorithm>
#include <charconv>

namespace caged::network {
namespace {

error refuse(std::string_view text, const std::string& why, std::string action) {
  return fail(errc::invalid_argument, "bad_host_pattern",
              "\"" + std::string(text.substr(0, 300)) + "\" is not usable in an allow-list: " + why, std::move(action));
}

constexpr const char* forms =
    "Use a name, *.name (one label more), **.name (any depth), an address or a block; each may end in :port.";

// Takes ":443" off the end; false when it is no port.
bool split_port(std::string_view& text, std::uint16_t& port) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return true;
  const bool bracketed = text.front() == '[';
  if (bracketed && text.back() == ']') return true;
  if (!bracketed && text.find(':') != colon) return true;  // IPv6 without brackets
  const auto digits = text.substr(colon + 1);
  unsigned value = 0;
  const auto [stop, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (bad != std::errc{} || stop != digits.data() + digits.size() || value == 0 || value > 65535) return false;
  port = static_cast<std::uint16_t>(value);
  text = text.substr(0, colon);
  return true;
}

bool is_public_suffix(const std::string& name) {
  if (name.find('.') == std::string::npos) return name != "internal";
  return psl_is_public_suffix2(psl_builtin(), name.c_str(), PSL_TYPE_ICANN | PSL_TYPE_NO_STAR_RULE) != 0;
}

bool looks_like_number(std::string_view label) {
  return !label.empty() && label.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::optional<std::string> normal_name(std::string_view text) {
  if (!text.empty() && text.back() == '.') text.remove_suffix(1);
  if (text.empty() || text.size() > 253) return std::nullopt;
  std::string out;
  out.reserve(text.size());
  std::size_t label = 0;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '.') {
      if (label == 0) return std::nullopt;
      label = 0;
    } else {
      const bool fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
      if (!fine || ++label > 63) return std::nullopt;
    }
    out.push_back(c);
  }
  if (label == 0) return std::nullopt;
  // "1.2.3.4", "0x7f.1", "2130706433": what an address parser somewhere takes for an address is no name.
  const auto dot = out.rfind('.');
  const std::string_view last = std::string_view(out).substr(dot == std::string::npos ? 0 : dot + 1);
  if (looks_like_number(last) || last.starts_with("0x")) return std::nullopt;
  return out;
}

result<host_pattern> host_pattern::parse(std::string_view text) {
  host_pattern p;
  p.text_ = std::string(text);
  std::string_view rest = text;
  if (rest.empty()) return refuse(text, "it is empty", forms);
  if (!split_port(rest, p.port_)) return refuse(text, "what follows the colon is no port", forms);
  if (rest.find("://") != std::string_view::npos || rest.find('@') != std::string_view::npos)
    return refuse(text, "it is a URL", "Write the host alone.");
  if (const auto block = parse_block(rest)) {
    p.form_ = form::block;
    p.block_ = *block;
    if (block->bits == 0) return refuse(text, "it allows every address", "Use network_mode full openly.");
    return p;
  }
  if (rest.find('/') != std::string_view::npos)
    return refuse(text, "it has a path, or is no block of addresses", forms);
  std::string_view name = rest;
  if (rest == "*" || rest == "**") return refuse(text, "it allows everything", "Use network_mode full openly.");
  if (rest.starts_with("**.")) {
    p.form_ = form::any_depth;
    name = rest.substr(3);
  } else if (rest.starts_with("*.")) {
    p.form_ = form::one_label;
    name = rest.substr(2);
  }
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!ascii) return refuse(text, "it has letters beyond ASCII", "Write the name in its xn-- form.");
  const auto normal = normal_name(name);
  if (!normal) return refuse(text, "it is neither a host name nor an address", forms);
  if (p.form_ != form::exact && is_public_suffix(*normal))
    return refuse(text, "everybody can register a name under " + *normal, "Name the domain itself.");
  p.name_ = p.form_ == form::exact ? *normal : "." + *normal;
  return p;
}

bool host_pattern::covers_name(std::string_view normal) const {
  if (form_ == form::block) return false;
  if (form_ == form::exact) return normal == name_;
  if (normal.size() <= name_.size() || !normal.ends_with(name_)) return false;
  const auto front = normal.substr(0, normal.size() - name_.size());
  return form_ == form::any_depth || front.find('.') == std::string_view::npos;
}

bool host_pattern::matches_name(std::string_view normal, std::uint16_t port) const {
  return (port_ == 0 || port_ == port) && covers_name(normal);
}

bool host_pattern::covers_address(const ip_address& address) const {
  return form_ == form::block && block_.contains(address);
}

bool host_pattern::matches_address(const ip_address& address, std::uint16_t port) const {
  return (port_ == 0 || port_ == port) && covers_address(address);
}

std::string_view to_string(mode m) noexcept {
  switch (m) {
    case mode::none:
      return "none";
    case mode::allowlist:
      return "allowlist";
    case mode::full:
      return "full";
    case mode::learn:
      return "learn";
    case mode::unset:
      break;
  }
  return "unset";
}

std::optional<mode> parse_mode(std::string_view text) noexcept {
  for (const mode m : {mode::none, mode::allowlist, mode::full, mode::learn})
    if (text == to_string(m)) return m;
  return std::nullopt;
}

result<rules> make_rules(std::string_view access, const std::vector<std::string>& texts) {
  rules r;
  const auto m = parse_mode(access);
  if (!m)
    return fail(
        errc::invalid_argument, "invalid_network_mode",
        "found the network mode \"" + std::string(access.substr(0, 60)) + "\", expected full, allowlist, learn or none",
        "Use one of them.", "/network_mode");
  r.access = *m;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto p = host_pattern::parse(texts[i]);
    if (!p) {
      error e = p.error();
      e.path = "/allowlist/" + std::to_string(i);
      return e;
    }
    r.allowed.push_back(std::move(*p));
  }
  return r;
}

verdict allow(std::string rule) { return {true, std::move(rule), {}, {}}; }

verdict deny(std::string rule, std::string reason, std::string advice) {
  return {false, std::move(rule), std::move(reason), std::move(advice)};
}

std::string shown(const destination& to) {
  if (!to.name.empty()) return to.name + ":" + std::to_string(to.port);
  const std::string text = to.address.to_string();
  return (to.address.is_v6() ? "[" + text + "]" : text) + ":" + std::to_string(to.port);
}

verdict decide(const rules& r, const destination& to) {
  if (r.access == mode::full) return allow("mode_full");
  if (r.access == mode::learn) return allow("mode_learn");
  if (r.access != mode::allowlist)
    return deny(
        "mode_none", "the sandbox has no network (mode none); it wanted " + shown(to),
        "Give it network_mode allowlist and allow " + (to.name.empty() ? to.address.to_string() : to.name) + ".");
  // Who lists an address means whatever is served there.
  for (const auto& p : r.allowed)
    if (p.matches_address(to.address, to.port)) return allow(p.text());
  if (to.hidden_name)
    return deny("hidden_name", "the TLS connection to " + shown(to) + " hides its real name (ECH)",
                "Turn Encrypted Client Hello off in the client.");
  if (to.name.empty())
    return deny("unnamed", shown(to) + " has no name, and allow-lists go by name",
                "Connect by name, or add " + to.address.to_string() + " to allowed_hosts.");
  // What speaks TLS or HTTP says whom it means; the address alone may be shared by many.
  if (to.protocol == "tls" && to.name_source != "sni")
    return deny("no_server_name", "the TLS connection to " + shown(to) + " names no server (no SNI)",
                "Use a client that sends the server's name, or add " + to.address.to_string() + " to allowed_hosts.");
  if (to.protocol == "http" && to.name_source != "host")
    return deny("no_host", "the HTTP request to " + shown(to) + " names no host", "Send a Host header.");
  const host_pattern* found = nullptr;
  for (const auto& p : r.allowed)
    if (p.matches_name(to.name, to.port)) found = &p;
  if (found == nullptr) {
    const bool other_port =
        std::any_of(r.allowed.begin(), r.allowed.end(), [&to](const auto& p) { return p.covers_name(to.name); });
    const std::string add = other_port || (to.port != 443 && to.port != 80) ? shown(to) : to.name;
    return deny("not_allowed", shown(to) + " is not in the allow-list", "Add " + add + " to allowed_hosts.");
  }
  if (!to.name_fits)
    return deny("name_contradicts_address", to.name + " is not at " + to.address.to_string(),
                "Connect to an address that " + to.name + " resolves to.");
  return allow(found->text());
}

verdict decide_name(const rules& r, std::string_view normal) {
  if (r.access == mode::full) return allow("mode_full");
  if (r.access == mode::learn) return allow("mode_learn");
  const std::string name(normal);
  if (r.access != mode::allowlist)
    return deny("mode_none", "the sandbox has no network (mode none); it looked up " + name,
                "Give it network_mode allowlist and allow " + name + ".");
  for (const auto& p : r.allowed)
    if (p.covers_name(normal)) return allow(p.text());
  return deny("not_allowed", name + " is not in the allow-list", "Add " + name + " to allowed_hosts.");
}

}  // namespace caged::network
