#include <caged/mcp/envelope.hpp>

namespace caged::mcp {

bool claims_envelope(const json& params) {
  if (!params.is_object()) return false;
  const auto meta = params.find("_meta");
  return meta != params.end() && meta->is_object() && meta->contains(version_key);
}

envelope read_envelope(const json& params) {
  const json& meta = params.at("_meta");
  envelope e;
  const json& version = meta.at(version_key);
  if (!version.is_string()) {
    e.fault = std::string("_meta[\"") + version_key + "\"] must be a string";
    return e;
  }
  e.version = version.get<std::string>();
  const auto capabilities = meta.find(capabilities_key);
  if (capabilities == meta.end() || !capabilities->is_object())
    e.fault = std::string("_meta[\"") + capabilities_key + "\"] must be an object";
  const auto client = meta.find(client_key);
  if (client != meta.end() && !client->is_object())
    e.fault = std::string("_meta[\"") + client_key + "\"] must be an object";
  return e;
}

}  // namespace caged::mcp
