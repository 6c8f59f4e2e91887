#include "dialect.hpp"

#include <array>

namespace caged::transport_llm {
namespace {

constexpr std::int64_t image_tokens = 8'000;   // more than any provider counts for one picture
constexpr std::int64_t fixed_tokens = 64;      // what a provider wraps around a prompt
constexpr std::int64_t tool_tokens = 2'048;    // and around tools

error bad_request(std::string message, std::string path) {
  return fail(errc::invalid_argument, "bad_request", std::move(message), "Send what the provider's API asks for.",
              std::move(path));
}

// What in a document makes its size no measure of its tokens.
struct content_scan {
  std::int64_t images = 0;
  bool elsewhere = false;

  void see_type(const std::string& type) {
    static constexpr std::array<std::string_view, 3> pictures{"image", "image_url", "input_image"};
    static constexpr std::array<std::string_view, 9> big{"document",         "file",           "input_file",
                                                         "input_audio",      "video",          "video_url",
                                                         "container_upload", "item_reference", "search_result"};
    for (const auto t : pictures) images += type == t;
    for (const auto t : big) elsewhere = elsewhere || type == t;
    for (const std::string_view t :
         {"web_search", "web_fetch", "code_execution", "file_search", "code_interpreter", "image_generation", "mcp"})
      elsewhere = elsewhere || type == t || (type.starts_with(t) && type.size() > t.size() && type[t.size()] == '_');
  }

  void walk(const json& value) {
    if (value.is_array()) {
      for (const auto& item : value) walk(item);
    } else if (value.is_object()) {
      for (const auto& [key, item] : value.items()) {
        if (key == "type" && item.is_string()) see_type(item.get<std::string>());
        if (key == "inlineData" || key == "inline_data") {
          const std::string mime = item.is_object() ? item.value("mimeType", item.value("mime_type", "")) : "";
          if (mime.starts_with("image/"))
            ++images;
          else
            elsewhere = true;
        }
        if (key == "fileData" || key == "file_data" || key == "googleSearch" || key == "google_search" ||
            key == "urlContext" || key == "url_context" || key == "codeExecution" || key == "code_execution" ||
            key == "mcp_servers")
          elsewhere = true;
        walk(item);
      }
    }
  }
};

bool given(const json& doc, const char* key) {
  const auto at = doc.find(key);
  return at != doc.end() && !at->is_null();
}

result<void> take_count(const json& doc, const char* key, std::optional<std::int64_t>& slot) {
  if (!given(doc, key)) return {};
  if (!doc[key].is_number_integer() || doc[key].get<std::int64_t>() < 1 || doc[key].get<std::int64_t>() > 100'000'000)
    return bad_request(std::string(key) + " is no whole number from 1 on", "/" + std::string(key));
  slot = doc[key].get<std::int64_t>();
  return {};
}

result<void> take_choices(const json& doc, const char* key, std::int64_t& slot) {
  std::optional<std::int64_t> n;
  if (auto ok = take_count(doc, key, n); !ok) return ok.error();
  if (n && *n > 1024) return bad_request(std::string(key) + " is over 1024", "/" + std::string(key));
  slot = n ? std::max(slot, *n) : slot;
  return {};
}

result<void> inspect_chat(const json& doc, request_facts& f) {
  std::optional<std::int64_t> old_name;
  if (auto ok = take_count(doc, "max_tokens", old_name); !ok) return ok.error();
  if (auto ok = take_count(doc, "max_completion_tokens", f.max_output); !ok) return ok.error();
  // Where both stand, servers differ in which one counts.
  if (old_name && (!f.max_output || *old_name > *f.max_output)) f.max_output = old_name;
  if (auto ok = take_choices(doc, "n", f.choices); !ok) return ok.error();
  if (auto ok = take_choices(doc, "best_of", f.choices); !ok) return ok.error();
  const auto options = doc.find("stream_options");
  f.asks_usage =
      options != doc.end() && options->is_object() && options->value("include_usage", json(false)) == json(true);
  return {};
}

result<void> inspect_responses(const json& doc, request_facts& f) {
  if (doc.value("background", json(false)) == json(true))
    return bad_request("a response in the background cannot be metered", "/background");
  if (auto ok = take_count(doc, "max_output_tokens", f.max_output); !ok) return ok.error();
  if (given(doc, "previous_response_id") || given(doc, "conversation") || given(doc, "prompt")) f.worst_input = -1;
  return {};
}

result<void> inspect_gemini(const json& doc, request_facts& f) {
  for (const char* name : {"generationConfig", "generation_config"}) {
    const auto config = doc.find(name);
    if (config == doc.end() || !config->is_object()) continue;
    for (const char* key : {"maxOutputTokens", "max_output_tokens"})
      if (auto ok = take_count(*config, key, f.max_output); !ok) return ok.error();
    for (const char* key : {"candidateCount", "candidate_count"})
      if (auto ok = take_choices(*config, key, f.choices); !ok) return ok.error();
  }
  if (given(doc, "cachedContent") || given(doc, "cached_content")) f.worst_input = -1;
  return {};
}

std::string google_status(int status) {
  switch (status) {
    case 400:
      return "INVALID_ARGUMENT";
    case 401:
      return "UNAUTHENTICATED";
    case 402:
      return "FAILED_PRECONDITION";
    case 403:
      return "PERMISSION_DENIED";
    case 404:
      return "NOT_FOUND";
    case 413:
      return "INVALID_ARGUMENT";
    case 504:
      return "DEADLINE_EXCEEDED";
    default:
      return status >= 500 ? "UNAVAILABLE" : "FAILED_PRECONDITION";
  }
}

std::string anthropic_type(int status) {
  switch (status) {
    case 400:
      return "invalid_request_error";
    case 401:
      return "authentication_error";
    case 402:
      return "billing_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 504:
      return "timeout_error";
    default:
      return "api_error";
  }
}

}  // namespace

std::string_view to_string(api a) noexcept {
  static constexpr std::array<std::string_view, 9> names{
      "unset",      "messages",         "chat_completions", "responses", "completions",
      "embeddings", "generate_content", "embed_content",    "free"};
  return names[static_cast<std::size_t>(a)];
}

std::optional<endpoint> find_endpoint(std::string_view method, std::string_view path, bool says_anthropic) {
  const bool post = method == "POST", get = method == "GET";
  endpoint e;
  const auto is = [&e](api what, const char* kind) {
    e.what = what;
    e.kind = kind;
    return e;
  };
  if (post && path == "/v1/messages") return is(api::messages, "anthropic");
  if (post && path == "/v1/messages/count_tokens") return is(api::free, "anthropic");
  if (post && path == "/v1/chat/completions") return is(api::chat, "openai");
  if (post && path == "/v1/completions") return is(api::completions, "openai");
  if (post && path == "/v1/responses") return is(api::responses, "openai");
  if (post && path == "/v1/embeddings") return is(api::embeddings, "openai");
  if (get && (path == "/v1/models" || path.starts_with("/v1/models/")))
    return is(api::free, says_anthropic ? "anthropic" : "openai");
  for (const std::string_view version : {"/v1beta/models", "/v1alpha/models", "/v1/models"}) {
    if (!path.starts_with(version)) continue;
    auto rest = path.substr(version.size());
    if (get) return is(api::free, "gemini");
    const auto colon = rest.rfind(':');
    if (!post || !rest.starts_with('/') || colon == std::string_view::npos ||
        rest.find('/', 1) != std::string_view::npos)
      continue;
    e.model = rest.substr(1, colon - 1);
    const auto verb = rest.substr(colon + 1);
    e.stream = verb == "streamGenerateContent";
    if (verb == "generateContent" || e.stream) return is(api::generate, "gemini");
    if (verb == "embedContent" || verb == "batchEmbedContents") return is(api::embed_content, "gemini");
    if (verb == "countTokens") return is(api::free, "gemini");
  }
  return std::nullopt;
}

result<request_facts> inspect(const endpoint& e, std::string_view body, const json& doc) {
  if (!doc.is_object()) return bad_request("the body is no JSON object", "");
  request_facts f;
  f.model = e.model;
  if (e.kind != "gemini") {
    if (!doc.contains("model") || !doc["model"].is_string()) return bad_request("the request names no model", "/model");
    f.model = doc["model"].get<std::string>();
    f.stream = doc.value("stream", json(false)) == json(true);
  } else {
    f.stream = e.stream;
  }
  if (f.model.empty() || f.model.size() > 256)
    return bad_request("the name of the model is empty or longer than 256 bytes", "/model");
  content_scan seen;
  seen.walk(doc);
  // A token is never shorter than a byte of the text it stands for.
  f.worst_input = static_cast<std::int64_t>(body.size()) + fixed_tokens + seen.images * image_tokens +
                  (given(doc, "tools") ? tool_tokens : 0);
  if (seen.elsewhere) f.worst_input = -1;
  f.writes_cache = body.find("cache_control") != std::string_view::npos;
  result<void> ok;
  if (e.what == api::messages) ok = take_count(doc, "max_tokens", f.max_output);
  if (e.what == api::chat || e.what == api::completions) ok = inspect_chat(doc, f);
  if (e.what == api::responses) ok = inspect_responses(doc, f);
  if (e.what == api::generate) ok = inspect_gemini(doc, f);
  if (e.what == api::embeddings || e.what == api::embed_content) f.max_output = 0;
  if (!ok) return ok.error();
  return f;
}

std::string with_max_output(api a, std::string_view body, std::int64_t tokens) {
  // Ordered, so that what the provider caches by prefix stays in its order.
  auto doc = nlohmann::ordered_json::parse(body);
  switch (a) {
    case api::responses:
      doc["max_output_tokens"] = tokens;
      break;
    case api::generate: {
      const char* name = doc.contains("generation_config") ? "generation_config" : "generationConfig";
      const char* key =
          doc.contains(name) && doc[name].contains("max_output_tokens") ? "max_output_tokens" : "maxOutputTokens";
      doc[name][key] = tokens;
      break;
    }
    case api::chat:
      if (doc.contains("max_completion_tokens")) doc["max_completion_tokens"] = tokens;
      if (doc.contains("max_tokens") || !doc.contains("max_completion_tokens"))
        doc[doc.contains("max_tokens") ? "max_tokens" : "max_completion_tokens"] = tokens;
      break;
    default:
      doc["max_tokens"] = tokens;
      // Thinking must stay below the whole; a provider would refuse the request.
      if (doc.contains("thinking") && doc["thinking"].is_object() && doc["thinking"].contains("budget_tokens") &&
          doc["thinking"]["budget_tokens"].is_number_integer()) {
        const auto thinking = doc["thinking"]["budget_tokens"].get<std::int64_t>();
        if (thinking >= tokens && tokens > 1024)
          doc["thinking"]["budget_tokens"] = std::max<std::int64_t>(1024, tokens / 2);
        if (thinking >= tokens && tokens <= 1024) doc.erase("thinking");
      }
  }
  return doc.dump();
}

std::string with_stream_usage(std::string_view body, const json& document) {
  if (document.contains("stream_options")) {
    auto doc = nlohmann::ordered_json::parse(body);
    if (!doc["stream_options"].is_object()) doc["stream_options"] = nlohmann::ordered_json::object();
    doc["stream_options"]["include_usage"] = true;
    return doc.dump();
  }
  // Byte for byte the client's own text, with one member more.
  const auto brace = body.find('{');
  std::string out(body.substr(0, brace + 1));
  return out.append("\"stream_options\":{\"include_usage\":true},").append(body.substr(brace + 1));
}

http::response refusal(std::string_view kind, const error& e) {
  // Clients try 408, 409, 429 and 5xx again; a budget does not grow by asking twice.
  int status = http_status(e.code);
  if (e.code == errc::limit_exceeded) status = 402;
  if (e.code == errc::conflict) status = 403;
  const std::string message = e.message + (e.action.empty() ? "" : ". " + e.action);
  json body;
  if (kind == "anthropic") {
    body = {{"type", "error"}, {"error", {{"type", anthropic_type(status)}, {"message", message}, {"code", e.reason}}}};
  } else if (kind == "gemini") {
    body = {{"error",
             {{"code", status},
              {"message", message},
              {"status", google_status(status)},
              {"details", json::array({{{"@type", "type.googleapis.com/google.rpc.ErrorInfo"},
                                        {"reason", e.reason},
                                        {"domain", "caged"}}})}}}};
  } else {
    body = {{"error",
             {{"message", message},
              {"type", status == 402 ? "insufficient_quota" : "invalid_request_error"},
              {"param", nullptr},
              {"code", e.reason}}}};
  }
  http::response r;
  r.status = status;
  r.fields = {{"Content-Type", "application/json"}, {"X-Caged-Reason", e.reason}};
  if (status < 500) r.fields.emplace_back("X-Should-Retry", "false");
  r.body = to_text(body);
  return r;
}

}  // namespace caged::transport_llm
