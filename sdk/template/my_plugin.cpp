// A tool plugin: one operation, text.count_words, for REST, MCP and the command line at once.
#include <caged/define_plugin.hpp>
#include <caged/operation.hpp>

#include <sstream>

namespace my_plugin {

using caged::json;

caged::operation_info describe_count() {
  caged::operation_info info;
  info.name = "text.count_words";
  info.summary = "Count the words of a text";
  info.description = "Words are what blanks separate.";
  info.needs = caged::scope::read;
  info.input = json::parse(R"({"type":"object","additionalProperties":false,"required":["text"],
    "properties":{"text":{"type":"string","description":"The text"}}})");
  info.output = json::parse(R"({"type":"object","additionalProperties":false,"required":["words"],
    "properties":{"words":{"type":"integer","minimum":0,"description":"How many"}}})");
  info.method = "POST";
  info.path = "/v1/text/count-words";
  info.read_only = true;
  info.idempotent = true;
  info.examples = {{"Three words", {{"text", "one two three"}}, {{"words", 3}}}};
  return info;
}

// Parameters by value: the coroutine outlives the caller's frame. The arguments fit the schema above.
caged::task<caged::reply> count(std::int64_t most, caged::call c) {
  std::istringstream in(c.arguments.at("text").get<std::string>());
  std::int64_t words = 0;
  for (std::string word; in >> word;) ++words;
  if (words > most)
    co_return caged::fail(caged::errc::too_large, "too_many_words", "the text has " + std::to_string(words) + " words",
                          "Send at most " + std::to_string(most) + " words, or raise most_words.", "/text");
  caged::reply answer;
  answer.body = {{"words", words}};
  co_return answer;
}

class word_counter : public caged::tool {
 public:
  // `config` fits my_plugin.schema.json, defaults filled in. No effects here; open() is the place for them.
  word_counter(caged::host& host, const json& config)
      : host_(host), most_words_(config.at("most_words").get<std::int64_t>()) {}

  caged::task<void> open() override {
    auto* registry = host_.service<caged::operations>();
    if (registry == nullptr)
      co_return caged::fail(caged::errc::unavailable, "service_missing", "the host has no operation registry",
                            "Load this plugin into a host that has one.");
    co_return registry->add(describe_count(),
                            [most = most_words_](caged::call c) { return count(most, std::move(c)); });
  }

 private:
  caged::host& host_;
  std::int64_t most_words_;
};

}  // namespace my_plugin

CAGED_PLUGIN(my_plugin::word_counter, .summary = "Counts words", .offers = CAGED_OFFERS_OPERATIONS,
             .needs = CAGED_NEEDS_OPERATIONS)
