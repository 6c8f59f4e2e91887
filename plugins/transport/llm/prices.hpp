// What tokens cost: a dated table, and integer micro-dollars from counts.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace caged::transport_llm {

// Tokens of one call. `input` is what was neither read from nor written to a cache; `reasoning` is part of `output`.
struct token_counts {
  std::int64_t input = 0, output = 0, cache_read = 0, cache_write = 0, cache_write_1h = 0, reasoning = 0;
  std::int64_t prompt() const noexcept;  // saturates: the counts are what a provider said
};
json to_json(const token_counts& t);

// Micro-dollars per million tokens.
struct rates {
  std::int64_t input = 0, output = 0, cache_read = 0, cache_write = 0, cache_write_1h = 0;
};

struct price {
  std::string match, provider, since;
  rates normal;
  std::int64_t long_above = 0;  // prompts over so many tokens cost long_prompt; 0 = there is no such step
  rates long_prompt;
  std::int64_t context = 200'000, max_output = 64'000;
};

struct priced {
  price what;
  bool known = true;
  std::string rule;  // "table", "free", or how an unknown model got its price
};

// Rounded up to a whole micro-dollar, once. Saturates instead of overflowing.
std::int64_t cost_micro(const price& p, const token_counts& t) noexcept;
// The most that a call with at most so many tokens can cost; `caches` when the request may write to a cache.
enum class caching : std::uint8_t { unset = 0, none, writes };
std::int64_t worst_case_micro(const price& p, std::int64_t input, std::int64_t output, caching c) noexcept;
// The most output tokens that fit into `amount`, the input being paid first; negative when not even that fits.
std::int64_t output_that_fits(const price& p, std::int64_t input, std::int64_t amount, caching c) noexcept;

class price_table {
 public:
  // The built-in table, or the given text of the same shape; `overrides` beat it. Errors name the entry.
  static result<price_table> make(std::string_view text, const json& overrides);
  static std::string_view built_in() noexcept;

  const std::string& version() const noexcept { return version_; }
  // The newest price of the best match that holds on `day` ("2026-01-31"). An unknown model gets, for each kind of
  // token, the highest price of its provider (of all when that is unknown).
  priced find(std::string_view provider_kind, std::string_view model, std::string_view day) const;

 private:
  std::string version_;
  std::vector<price> overrides_, table_;
};

// "claude-*": '*' matches any run of characters.
bool matches(std::string_view pattern, std::string_view text) noexcept;

}  // namespace caged::transport_llm
