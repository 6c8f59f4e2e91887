// The APIs the gateway passes through: what a request asks for, and how a refusal looks in each.
#pragma once

#include <caged/http.hpp>
#include <caged/json.hpp>
#include <caged/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace caged::transport_llm {

// What an endpoint is metered as.
enum class api : std::uint8_t {
  unset = 0,
  messages,
  chat,
  responses,
  completions,
  embeddings,
  generate,
  embed_content,
  free
};
std::string_view to_string(api a) noexcept;

// A path the gateway knows. `kind` is the provider kind that speaks it.
struct endpoint {
  api what = api::unset;
  std::string kind;    // "anthropic", "openai", "gemini"
  std::string model;   // gemini names it in the path
  bool stream = false; // gemini: streamGenerateContent
};
// nullopt for what cannot be metered, and is therefore not passed.
std::optional<endpoint> find_endpoint(std::string_view method, std::string_view path, bool says_anthropic);

// What a request asks for, as far as it matters for its cost.
struct request_facts {
  std::string model;
  bool stream = false;
  std::int64_t worst_input = 0;              // tokens; -1: as many as the model takes (content lies elsewhere)
  std::optional<std::int64_t> max_output;    // per choice
  std::int64_t choices = 1;
  bool writes_cache = false;
  bool asks_usage = false;                   // chat: the client wants usage in the stream
};
// Errors (invalid_argument) are for requests that are malformed or cannot be metered.
result<request_facts> inspect(const endpoint& e, std::string_view body, const json& document);

// The body with another bound on output tokens, otherwise as it was in content.
std::string with_max_output(api a, std::string_view body, std::int64_t tokens);
// A chat request that also asks for usage in the stream.
std::string with_stream_usage(std::string_view body, const json& document);

// The refusal as the API's own errors look, marked so that official clients do not try again.
http::response refusal(std::string_view kind, const error& e);

}  // namespace caged::transport_llm
