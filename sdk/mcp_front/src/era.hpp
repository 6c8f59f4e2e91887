// Which era a message that came by HTTP belongs to, before any dialog sees it.
#pragma once

#include <caged/http.hpp>

#include <caged/mcp/dialog.hpp>

namespace caged::mcp {

enum class era : std::uint8_t { unset = 0, handshake, stateless };

struct verdict {
  era which = era::unset;
  bool refused = false;
  http::response refusal;
};

// The body decides and the header is compared with it; a contradiction is an error, never a silent choice.
verdict classify(const json& message, const http::request& head);
// Whether anything in it is a request (or malformed, which is answered too).
bool expects_answer(const json& message);
// The id of an answer to what had none that could be read.
json unreadable_id(revision spoken);
bool lists_json(const std::string& content_type);
bool accepts_both(const std::string& accept);

}  // namespace caged::mcp
