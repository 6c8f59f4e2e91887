// The gateway's configuration, read: providers with their keys and connections, prices, limits.
#pragma once

#include <caged/http_upstream.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "prices.hpp"

namespace caged::transport_llm {

struct provider {
  std::string name, kind, key;
  std::vector<std::string> models, failover;
  http::headers extra;
  bool free = false, stream_usage = true;
  std::string strip;  // "/v1" where the base URL ends with it: requests bring it themselves
  std::shared_ptr<http::upstream> origin;
};

struct gateway_options {
  std::string host, url;
  std::map<std::string, std::shared_ptr<provider>> providers;
  price_table prices;
  bool clamp = true, record_bodies = false, refuse_unknown = false;
  std::int64_t least_output = 256;
  std::chrono::milliseconds patience{5000}, first_byte{600'000}, silence{120'000};
  std::size_t body_bytes = 32u << 20;
  int retries = 1;
};

// Reads keys from where the configuration says. `config` fits the schema.
result<gateway_options> read_options(asio::any_io_executor executor, const json& config);

// What a sandbox's environment gets so that agents inside find the gateway.
std::vector<std::map<std::string, std::string>> environment_of(const gateway_options& o);

}  // namespace caged::transport_llm
