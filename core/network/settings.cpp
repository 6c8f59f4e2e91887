#include "core/network/settings.hpp"

#include <caged/base64.hpp>
#include <charconv>

namespace caged::network {
namespace {

error wrong(const std::string& path, const std::string& text, const std::string& expected) {
  return fail(errc::invalid_argument, "bad_network_setting", "found \"" + text + "\", expected " + expected,
              "Correct it in the server's configuration.", path);
}

// "host", "host:port", "[v6]:port".
bool split_host(std::string_view text, std::string& host, std::uint16_t& port) {
  const auto colon = text.rfind(':');
  const bool v6 = text.find(':') != colon && !text.starts_with('[');
  if (colon == std::string_view::npos || v6 || text.ends_with(']')) {
    host = std::string(text);
    return !text.empty();
  }
  host = std::string(text.substr(0, colon));
  const auto digits = text.substr(colon + 1);
  const auto [stop, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return bad == std::errc{} && stop == digits.data() + digits.size() && port != 0 && !host.empty();
}

result<void> take_proxy(const std::string& text, settings& out) {
  std::string_view rest = text;
  if (rest.empty()) return {};
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  if (rest.find("://") != std::string_view::npos)
    return wrong("/network/proxy", "another scheme", "http://[user:password@]HOST:PORT");
  rest = rest.substr(0, rest.find('/'));
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    out.proxy_authorization = "Basic " + base64_encode(rest.substr(0, at));
    rest.remove_prefix(at + 1);
  }
  out.proxy_port = 3128;
  // What is wrong is not quoted: it may hold a password.
  if (!split_host(rest, out.proxy_host, out.proxy_port))
    return wrong("/network/proxy", "no such address", "http://[user:password@]HOST:PORT");
  return {};
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    std::string word = text.substr(at, end - at);
    std::erase(word, ' ');
    if (word.starts_with("*.")) word.erase(0, 1);
    if (!word.empty()) out.push_back(std::move(word));
    at = end + 1;
  }
  return out;
}

std::string first_of(const config::environment& env, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (auto value = env(name); value && !value->empty()) return *value;
  return {};
}

}  // namespace

result<settings> make_settings(const config::host_config& host, const config::environment& env) {
  const auto& n = host.network;
  settings out;
  out.flows = n.connections;
  for (const auto& text : n.resolvers) {
    std::string address;
    std::uint16_t port = 53;
    const auto ip = split_host(text, address, port) ? parse_address(address) : std::nullopt;
    if (!ip) return wrong("/network/resolvers", text, "ADDR or ADDR:PORT");
    out.names.servers.emplace_back(*ip, port);
  }
  for (const auto& [name, addresses] : n.hosts) {
    const auto normal = normal_name(name);
    if (!normal) return wrong("/network/hosts", name, "a host name");
    for (const auto& text : addresses) {
      const auto ip = parse_address(text);
      if (!ip) return wrong("/network/hosts/" + name, text, "an address");
      out.names.fixed[*normal].push_back(*ip);
    }
  }
  for (const auto& text : n.allow_inner) {
    auto p = host_pattern::parse(text);
    if (!p) return wrong("/network/allow_inner", text, "an address or a block");
    out.allow_inner.push_back(std::move(*p));
  }
  const std::string proxy = n.proxy.empty() ? first_of(env, {"HTTPS_PROXY", "https_proxy"}) : n.proxy;
  if (auto ok = take_proxy(proxy, out); !ok) return ok.error();
  out.proxy_not_for = n.no_proxy.empty() ? words(first_of(env, {"NO_PROXY", "no_proxy"})) : n.no_proxy;
  return out;
}

}  // namespace caged::network
