#include "era.hpp"

#include <algorithm>

#include <caged/mcp/envelope.hpp>

#include "lane.hpp"

namespace caged::mcp {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return text;
}

bool has_type(const std::string& list, std::string_view type) {
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    std::string one = list.substr(at, comma - at);
    one = one.substr(0, one.find(';'));
    const auto begin = one.find_first_not_of(" \t"), end = one.find_last_not_of(" \t");
    if (begin != std::string::npos && one.substr(begin, end - begin + 1) == type) return true;
    at = comma + 1;
  }
  return false;
}

verdict refuse(http::response r) {
  verdict v;
  v.refused = true;
  v.refusal = std::move(r);
  return v;
}

verdict of(era which) {
  verdict v;
  v.which = which;
  return v;
}

json readable_id(const json& message, revision spoken) {
  const auto id = message.find("id");
  return id != message.end() && (id->is_string() || id->is_number_integer()) ? *id : unreadable_id(spoken);
}

}  // namespace

json unreadable_id(revision spoken) { return modern(spoken) ? json(json::value_t::discarded) : json(nullptr); }

bool lists_json(const std::string& content_type) { return has_type(lower(content_type), "application/json"); }

bool accepts_both(const std::string& accept) {
  const std::string list = lower(accept);
  if (has_type(list, "*/*")) return true;
  const bool json_too = has_type(list, "application/json") || has_type(list, "application/*");
  return json_too && (has_type(list, "text/event-stream") || has_type(list, "text/*"));
}

bool expects_answer(const json& message) {
  if (message.is_array())
    return message.empty() || std::any_of(message.begin(), message.end(), [](const json& m) {
             return !m.is_object() || (m.contains("method") && m.contains("id"));
           });
  return !message.is_object() || (message.contains("method") && message.contains("id"));
}

verdict classify(const json& message, const http::request& head) {
  const std::string said = std::string(head.field("mcp-protocol-version"));
  const revision header = revision_of(said);
  if (message.is_array()) return of(era::handshake);
  // What is no message at all is answered as the stateless era does, without a session.
  if (!message.is_object()) return of(era::stateless);
  const auto params = message.find("params");
  if (params != message.end() && claims_envelope(*params)) return of(era::stateless);
  const auto method = message.find("method");
  const bool named = method != message.end() && method->is_string();
  if (named && *method == "initialize") {
    if (modern(header))
      return refuse(refusal(
          400, -32020, "Header mismatch: initialize does not exist in the revision that MCP-Protocol-Version names",
          nullptr, readable_id(message, header)));
    return of(era::handshake);
  }
  if (modern(header)) {
    if (named && !message.contains("id")) {
      const std::string_view repeated = head.field("mcp-method");
      if (repeated != method->get_ref<const std::string&>())
        return refuse(refusal(400, -32020, "Header mismatch: the header Mcp-Method is not the method of the body",
                              nullptr, unreadable_id(header)));
      return of(era::stateless);
    }
    return refuse(refusal(
        400, -32602,
        std::string("Invalid params: params._meta lacks \"") + version_key + "\" and \"" + capabilities_key + "\"",
        nullptr, readable_id(message, header)));
  }
  if (!said.empty() && header == revision::unset) {
    json supported = json::array();
    for (const revision r : {revision::v2026_07_28, revision::v2025_11_25, revision::v2025_06_18, revision::v2025_03_26,
                             revision::v2024_11_05})
      supported.push_back(name_of(r));
    return refuse(refusal(400, -32022, "Unsupported protocol version",
                          {{"supported", supported}, {"requested", said.substr(0, 40)}}, readable_id(message, header)));
  }
  return of(era::handshake);
}

}  // namespace caged::mcp
