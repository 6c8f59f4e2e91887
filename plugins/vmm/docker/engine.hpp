// The Engine API (Docker's, and Podman's compatible one) over its Unix socket: blocking calls, errors as ours.
#pragma once

#include <caged/http_client.hpp>
#include <caged/json.hpp>
#include <chrono>
#include <filesystem>
#include <string>

namespace caged::vmm::docker {

// Thread-safe: every call takes a connection of its own. Blocks.
class engine {
 public:
  explicit engine(std::string socket) : socket_(std::move(socket)) {}

  // A 2xx's JSON (null when empty). The engine's refusals become not_found, conflict, invalid_argument or internal,
  // reason "engine_refused"; an engine that is not there is unavailable, reason "no_engine".
  result<json> call(std::string method, std::string target, json body = nullptr,
                    std::chrono::milliseconds silence = std::chrono::seconds(60)) const;
  // Sends the file as the request's body.
  result<void> upload(std::string target, const std::filesystem::path& file) const;

  const std::string& socket() const noexcept { return socket_; }

 private:
  result<http::client_response> send(http::client_request r) const;

  std::string socket_;
};

// {"label": ["a=b"]} as the engine wants it in a query.
std::string filter(std::string_view key, std::string_view value);

}  // namespace caged::vmm::docker
