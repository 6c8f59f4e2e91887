// Counts the tokens of an answer while it passes: a JSON document, or events that may stop at any byte.
#pragma once

#include <string>
#include <string_view>

#include "dialect.hpp"
#include "prices.hpp"

namespace caged::transport_llm {

class answer_counter {
 public:
  // `drop_usage_chunk`: take the chunk that only carries usage out of a chat stream, because the client did not ask.
  enum class usage_chunk : std::uint8_t { unset = 0, keep, drop };
  enum class form : std::uint8_t { unset = 0, document, events };
  answer_counter(api a, form f, usage_chunk u) : api_(a), form_(f), usage_chunk_(u) {}

  // Takes the next bytes and returns what goes to the client: the same, or, where a chunk may have to be taken out,
  // whole events only.
  std::string pass(std::string piece);
  // The end of the answer; returns what was held back.
  std::string finish();

  // What the answer said, with what it did not say estimated from its text and the request's size.
  token_counts tokens(std::size_t request_bytes) const;
  // Whether the provider told the final counts.
  bool exact() const noexcept { return final_; }
  // Whether anything of the answer has come that costs.
  bool began() const noexcept { return began_; }
  const std::string& model() const noexcept { return model_; }
  const std::string& response_id() const noexcept { return id_; }

 private:
  void take_document(std::string_view text);
  bool take_event(std::string_view event);  // whether it goes on to the client
  void take(const json& doc);
  void take_messages(const json& doc);
  void take_chat(const json& doc);
  void take_responses(const json& doc);
  void take_gemini(const json& doc);
  void count_text(const json& value);

  const api api_;
  const form form_;
  const usage_chunk usage_chunk_;
  std::string held_;        // the unfinished event, or the document so far
  std::string unsent_;      // drop mode: the part of it the client has not got
  token_counts said_;
  bool input_said_ = false, final_ = false, began_ = false;
  std::size_t text_bytes_ = 0;
  std::string model_, id_;
};

}  // namespace caged::transport_llm
