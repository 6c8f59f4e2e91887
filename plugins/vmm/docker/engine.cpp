#include "engine.hpp"

#include <fstream>

namespace caged::vmm::docker {
namespace {

errc class_of(int status) {
  if (status == 404) return errc::not_found;
  if (status == 409) return errc::conflict;
  if (status == 503) return errc::unavailable;
  if (status == 501) return errc::unsupported;
  return status < 500 ? errc::invalid_argument : errc::internal;
}

error refusal(const http::client_request& r, const http::client_response& answer) {
  std::string said = answer.body.substr(0, 500);
  if (auto value = parse_json(answer.body); value && value->is_object()) said = value->value("message", said);
  return fail(class_of(answer.status), "engine_refused",
              "the container engine refused " + r.method + " " + r.target.substr(0, r.target.find('?')) + " with " +
                  std::to_string(answer.status) + ": " + said,
              "Look at the engine's log.");
}

}  // namespace

result<http::client_response> engine::send(http::client_request r) const {
  http::client_options options;
  options.base_url = "unix://" + socket_;
  auto client = http::client::make(std::move(options));
  if (!client) return client.error();
  auto answer = client->request(r);
  if (!answer && answer.error().reason == "no_server")
    return fail(errc::unavailable, "no_engine", "no container engine answers at " + socket_,
                "Start Docker or Podman's service, or set plugins.vmm.docker.socket.");
  if (!answer) return answer.error();
  if (!answer->ok() && answer->status != 304) return refusal(r, *answer);
  return answer;
}

result<json> engine::call(std::string method, std::string target, json body, std::chrono::milliseconds silence) const {
  http::client_request r;
  r.method = std::move(method);
  r.target = std::move(target);
  r.silence = silence;
  if (!body.is_null()) {
    r.body = to_text(body);
    r.fields.emplace_back("Content-Type", "application/json");
  }
  auto answer = send(std::move(r));
  if (!answer) return answer.error();
  if (answer->body.empty()) return json(nullptr);
  return parse_json(answer->body);
}

result<void> engine::upload(std::string target, const std::filesystem::path& file) const {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(errc::not_found, "no_such_file", "cannot read " + file.string(), "Correct the path.");
  http::client_request r;
  r.method = "POST";
  r.target = std::move(target);
  r.fields.emplace_back("Content-Type", "application/x-tar");
  r.silence = std::chrono::minutes(10);
  r.body_source = [&in, &file]() -> result<std::string> {
    std::string piece(1 << 16, '\0');
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (in.bad()) return fail(errc::internal, "read_failed", "cannot read on in " + file.string());
    piece.resize(static_cast<std::size_t>(in.gcount()));
    return piece;
  };
  auto answer = send(std::move(r));
  if (!answer) return answer.error();
  // Progress comes as lines of JSON with status 200; a failure is one of them.
  if (const auto at = answer->body.find("\"error\""); at != std::string::npos)
    return fail(errc::internal, "import_failed",
                "the container engine could not import " + file.string() + ": " + answer->body.substr(at, 300),
                "Check the archive.");
  return {};
}

std::string filter(std::string_view key, std::string_view value) {
  return http::encode_component(to_text(json{{std::string(key), json::array({std::string(value)})}}));
}

}  // namespace caged::vmm::docker
