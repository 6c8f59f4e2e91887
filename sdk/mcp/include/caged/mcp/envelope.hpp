// The metadata that every request of the stateless era carries in params._meta.
#pragma once

#include <string>

#include <caged/mcp/json_text.hpp>

namespace caged::mcp {

inline constexpr const char* version_key = "io.modelcontextprotocol/protocolVersion";
inline constexpr const char* capabilities_key = "io.modelcontextprotocol/clientCapabilities";
inline constexpr const char* client_key = "io.modelcontextprotocol/clientInfo";
inline constexpr const char* log_level_key = "io.modelcontextprotocol/logLevel";

struct envelope {
  std::string version;
  std::string fault;  // what is wrong with it; empty: nothing
};

// Whether these params claim to be of the stateless era: they name a protocol version, rightly or not.
bool claims_envelope(const json& params);
// Of params that claim one.
envelope read_envelope(const json& params);

}  // namespace caged::mcp
