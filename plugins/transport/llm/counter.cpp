#include "counter.hpp"

#include <algorithm>

namespace caged::transport_llm {
namespace {

constexpr std::size_t most_held = 64u << 20;

std::int64_t number(const json& doc, const char* key) {
  const auto at = doc.find(key);
  if (at == doc.end() || !at->is_number()) return 0;
  const double value = at->get<double>();
  return value > 0 && value < 1e15 ? static_cast<std::int64_t>(value) : 0;
}

const json& member(const json& doc, const char* key) {
  static const json none = json::object();
  if (!doc.is_object()) return none;
  const auto at = doc.find(key);
  return at == doc.end() ? none : *at;
}

std::string text_of(const json& doc, const char* key) {
  const auto& value = member(doc, key);
  return value.is_string() ? value.get<std::string>().substr(0, 256) : std::string();
}

// The end of the first whole event in `text`, behind its blank line; npos when there is none.
std::size_t event_end(std::string_view text) {
  const auto a = text.find("\n\n"), b = text.find("\r\n\r\n"), c = text.find("\r\r");
  const auto end = std::min({a == std::string_view::npos ? a : a + 2, b == std::string_view::npos ? b : b + 4,
                             c == std::string_view::npos ? c : c + 2});
  return end;
}

std::string data_of(std::string_view event) {
  std::string data;
  while (!event.empty()) {
    auto end = event.find_first_of("\r\n");
    auto line = event.substr(0, end);
    event.remove_prefix(end == std::string_view::npos ? event.size() : end + 1);
    if (!line.starts_with("data:")) continue;
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (!data.empty()) data += '\n';
    data += line;
  }
  return data;
}

}  // namespace

std::string answer_counter::pass(std::string piece) {
  if (form_ != form::events) {
    if (held_.size() + piece.size() <= most_held) held_ += piece;
    return piece;
  }
  held_ += piece;
  std::string out;
  std::size_t at = 0;
  while (true) {
    const auto end = event_end(std::string_view(held_).substr(at));
    if (end == std::string::npos) break;
    const auto event = std::string_view(held_).substr(at, end);
    const bool goes_on = take_event(event);
    if (goes_on && usage_chunk_ == usage_chunk::drop) out += event;
    at += end;
  }
  held_.erase(0, at);
  // An event that never ends is not worth its memory: count on without it.
  if (held_.size() > most_held) {
    if (usage_chunk_ == usage_chunk::drop) out += held_;
    held_.clear();
  }
  return usage_chunk_ == usage_chunk::drop ? out : piece;
}

std::string answer_counter::finish() {
  if (form_ != form::events) {
    take_document(held_);
    held_.clear();
    return {};
  }
  bool goes_on = true;
  if (!held_.empty()) goes_on = take_event(held_);
  std::string rest = usage_chunk_ == usage_chunk::drop && goes_on ? held_ : std::string();
  held_.clear();
  return rest;
}

void answer_counter::take_document(std::string_view text) {
  auto doc = parse_json(text);
  if (!doc) return;
  // Gemini without alt=sse streams one array.
  if (doc->is_array()) {
    for (const auto& item : *doc) take(item);
  } else {
    take(*doc);
  }
}

bool answer_counter::take_event(std::string_view event) {
  const std::string data = data_of(event);
  if (data.empty() || data == "[DONE]") return true;
  auto doc = parse_json(data);
  if (!doc || !doc->is_object()) return true;
  take(*doc);
  if (usage_chunk_ != usage_chunk::drop) return true;
  const auto choices = doc->find("choices");
  return !(choices != doc->end() && choices->is_array() && choices->empty() && member(*doc, "usage").is_object());
}

void answer_counter::take(const json& doc) {
  if (!doc.is_object()) return;
  began_ = true;
  switch (api_) {
    case api::messages:
      take_messages(doc);
      break;
    case api::chat:
    case api::completions:
    case api::embeddings:
      take_chat(doc);
      break;
    case api::responses:
      take_responses(doc);
      break;
    case api::generate:
    case api::embed_content:
      take_gemini(doc);
      break;
    default:
      break;
  }
}

void answer_counter::count_text(const json& value) {
  if (value.is_string()) {
    text_bytes_ += value.get_ref<const std::string&>().size();
  } else if (value.is_array() || value.is_object()) {
    for (const auto& item : value) count_text(item);
  }
}

void answer_counter::take_messages(const json& doc) {
  const auto type = text_of(doc, "type");
  const json& message = type == "message_start" ? member(doc, "message") : doc;
  if (type == "message_start" || type == "message") {
    model_ = text_of(message, "model");
    id_ = text_of(message, "id");
  }
  if (type == "content_block_delta") {
    const auto& delta = member(doc, "delta");
    for (const char* key : {"text", "thinking", "partial_json"}) count_text(member(delta, key));
  }
  const auto& usage = member(message, "usage");
  if (!usage.is_object() || usage.empty()) return;
  // Later events tell sums so far, and only of what they name.
  if (usage.contains("input_tokens") && usage["input_tokens"].is_number()) {
    said_.input = number(usage, "input_tokens");
    input_said_ = true;
  }
  if (usage.contains("cache_read_input_tokens") && usage["cache_read_input_tokens"].is_number())
    said_.cache_read = number(usage, "cache_read_input_tokens");
  if (usage.contains("cache_creation_input_tokens") && usage["cache_creation_input_tokens"].is_number()) {
    const auto hour = number(member(usage, "cache_creation"), "ephemeral_1h_input_tokens");
    const auto all = number(usage, "cache_creation_input_tokens");
    said_.cache_write_1h = std::min(hour, all);
    said_.cache_write = all - said_.cache_write_1h;
  }
  if (usage.contains("output_tokens")) said_.output = number(usage, "output_tokens");
  final_ = final_ || type == "message_delta" || type == "message";
}

void answer_counter::take_chat(const json& doc) {
  if (const auto model = text_of(doc, "model"); !model.empty()) model_ = model;
  if (const auto id = text_of(doc, "id"); !id.empty()) id_ = id;
  const auto& choices = member(doc, "choices");
  if (choices.is_array()) {
    for (const auto& choice : choices) {
      const auto& delta = member(choice, "delta");
      for (const char* key : {"content", "refusal", "reasoning", "reasoning_content"}) count_text(member(delta, key));
      const auto& calls = member(delta, "tool_calls");
      if (calls.is_array())
        for (const auto& call : calls) count_text(member(call, "function"));
      count_text(member(choice, "text"));
    }
  }
  const auto& usage = member(doc, "usage");
  if (!usage.is_object() || !usage.contains("prompt_tokens")) return;
  const auto cached =
      std::min(number(member(usage, "prompt_tokens_details"), "cached_tokens"), number(usage, "prompt_tokens"));
  said_.input = number(usage, "prompt_tokens") - cached;
  said_.cache_read = cached;
  said_.output = number(usage, "completion_tokens");
  said_.reasoning = number(member(usage, "completion_tokens_details"), "reasoning_tokens");
  input_said_ = final_ = true;
}

void answer_counter::take_responses(const json& doc) {
  const auto type = text_of(doc, "type");
  if (type.ends_with(".delta")) count_text(member(doc, "delta"));
  const json& response = doc.contains("response") ? doc["response"] : doc;
  if (const auto model = text_of(response, "model"); !model.empty()) model_ = model;
  if (const auto id = text_of(response, "id"); !id.empty() && doc.contains("response")) id_ = id;
  const auto& usage = member(response, "usage");
  if (!usage.is_object() || !usage.contains("input_tokens")) return;
  const auto cached =
      std::min(number(member(usage, "input_tokens_details"), "cached_tokens"), number(usage, "input_tokens"));
  said_.input = number(usage, "input_tokens") - cached;
  said_.cache_read = cached;
  said_.output = number(usage, "output_tokens");
  said_.reasoning = number(member(usage, "output_tokens_details"), "reasoning_tokens");
  input_said_ = final_ = true;
}

void answer_counter::take_gemini(const json& doc) {
  if (const auto model = text_of(doc, "modelVersion"); !model.empty()) model_ = model;
  if (const auto id = text_of(doc, "responseId"); !id.empty()) id_ = id;
  bool ended = form_ == form::document;
  const auto& candidates = member(doc, "candidates");
  if (candidates.is_array()) {
    for (const auto& candidate : candidates) {
      count_text(member(member(candidate, "content"), "parts"));
      ended = ended || !text_of(candidate, "finishReason").empty();
    }
  }
  const auto& usage = member(doc, "usageMetadata");
  if (!usage.is_object() || !usage.contains("promptTokenCount")) return;
  const auto prompt = number(usage, "promptTokenCount") + number(usage, "toolUsePromptTokenCount");
  const auto cached = std::min(number(usage, "cachedContentTokenCount"), prompt);
  said_.input = prompt - cached;
  said_.cache_read = cached;
  said_.reasoning = number(usage, "thoughtsTokenCount");
  said_.output = number(usage, "candidatesTokenCount") + said_.reasoning;
  input_said_ = true;
  final_ = final_ || ended;
}

token_counts answer_counter::tokens(std::size_t request_bytes) const {
  token_counts t = said_;
  if (final_) return t;
  // Four bytes to a token is usual; three errs towards the provider's bill.
  if (!input_said_ && began_) t.input = static_cast<std::int64_t>((request_bytes + 2) / 3);
  t.output = std::max<std::int64_t>(t.output, static_cast<std::int64_t>((text_bytes_ + 2) / 3));
  return t;
}

}  // namespace caged::transport_llm
