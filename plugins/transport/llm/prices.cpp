#include "prices.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace caged::transport_llm {
namespace {

constexpr char table_text[] =
#include CAGED_LLM_PRICES_FILE
    ;

__extension__ using wide = __int128;
constexpr wide million = 1'000'000;

std::int64_t saturated(wide value) noexcept {
  constexpr wide most = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(value > most ? most : value);
}

std::int64_t rounded_up(wide sum) noexcept { return saturated((sum + million - 1) / million); }

std::int64_t micro(const json& entry, const char* key, std::int64_t fallback) {
  return entry.contains(key) ? std::llround(entry[key].get<double>() * 1e6) : fallback;
}

rates rates_of(const json& entry) {
  rates r;
  r.input = micro(entry, "input", 0);
  r.output = micro(entry, "output", 0);
  // Without a price of its own a cached token costs what any other does.
  r.cache_read = micro(entry, "cache_read", r.input);
  r.cache_write = micro(entry, "cache_write", r.input);
  r.cache_write_1h = micro(entry, "cache_write_1h", std::max(r.cache_write, r.input));
  return r;
}

result<price> price_of(const json& entry, std::size_t at) {
  const auto wrong = [at](const std::string& what) {
    return fail(errc::invalid_argument, "bad_prices", "entry " + std::to_string(at) + " of the price table " + what,
                "Give match, input and output in US dollars per million tokens.", "/prices/" + std::to_string(at));
  };
  if (!entry.is_object() || !entry.contains("match") || !entry["match"].is_string()) return wrong("has no match");
  for (const char* key : {"input", "output"})
    if (!entry.contains(key) || !entry[key].is_number() || entry[key].get<double>() < 0)
      return wrong(std::string("has no price for ") + key);
  price p;
  p.match = entry["match"].get<std::string>();
  p.provider = entry.value("provider", "");
  p.since = entry.value("since", "");
  p.normal = rates_of(entry);
  p.long_prompt = p.normal;
  if (entry.contains("long")) {
    p.long_above = entry["long"].value("above", std::int64_t{0});
    p.long_prompt = rates_of(entry["long"]);
  }
  p.context = entry.value("context", p.context);
  p.max_output = entry.value("max_output", p.max_output);
  return p;
}

result<void> read_into(const json& list, std::vector<price>& out) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto one = price_of(list[i], i);
    if (!one) return one.error();
    out.push_back(std::move(*one));
  }
  return {};
}

const rates& rates_for(const price& p, std::int64_t prompt) noexcept {
  return p.long_above > 0 && prompt > p.long_above ? p.long_prompt : p.normal;
}

std::int64_t worst_input_rate(const rates& r, caching c) noexcept {
  const auto plain = std::max(r.input, r.cache_read);
  return c == caching::writes ? std::max({plain, r.cache_write, r.cache_write_1h}) : plain;
}

// The newest entry of the longest pattern that holds on the day.
const price* best_of(const std::vector<price>& list, std::string_view kind, std::string_view model,
                     std::string_view day) {
  const price* best = nullptr;
  for (const auto& p : list) {
    if (!p.provider.empty() && p.provider != kind) continue;
    if (p.since > day || !matches(p.match, model)) continue;
    const bool better = best == nullptr || p.match.size() > best->match.size() ||
                        (p.match.size() == best->match.size() && p.since > best->since);
    if (better) best = &p;
  }
  return best;
}

void raise(rates& to, const rates& from) {
  to.input = std::max(to.input, from.input);
  to.output = std::max(to.output, from.output);
  to.cache_read = std::max(to.cache_read, from.cache_read);
  to.cache_write = std::max(to.cache_write, from.cache_write);
  to.cache_write_1h = std::max(to.cache_write_1h, from.cache_write_1h);
}

}  // namespace

json to_json(const token_counts& t) {
  return {{"input", t.input},
          {"output", t.output},
          {"cache_read", t.cache_read},
          {"cache_write", saturated(wide{t.cache_write} + t.cache_write_1h)},
          {"reasoning", t.reasoning}};
}

std::int64_t token_counts::prompt() const noexcept {
  return saturated(wide{input} + cache_read + cache_write + cache_write_1h);
}

std::int64_t cost_micro(const price& p, const token_counts& t) noexcept {
  const rates& r = rates_for(p, t.prompt());
  return rounded_up(wide{t.input} * r.input + wide{t.output} * r.output + wide{t.cache_read} * r.cache_read +
                    wide{t.cache_write} * r.cache_write + wide{t.cache_write_1h} * r.cache_write_1h);
}

std::int64_t worst_case_micro(const price& p, std::int64_t input, std::int64_t output, caching c) noexcept {
  const rates& r = rates_for(p, input);
  return rounded_up(wide{input} * worst_input_rate(r, c) + wide{output} * r.output);
}

std::int64_t output_that_fits(const price& p, std::int64_t input, std::int64_t amount, caching c) noexcept {
  const rates& r = rates_for(p, input);
  const wide left = wide{amount} * million - wide{input} * worst_input_rate(r, c);
  if (left < 0) return -1;
  if (r.output == 0) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(left / r.output);
}

std::string_view price_table::built_in() noexcept { return table_text; }

result<price_table> price_table::make(std::string_view text, const json& overrides) {
  auto doc = parse_json(text);
  if (!doc) return doc.error();
  if (!doc->is_object() || !doc->contains("models") || !(*doc)["models"].is_array())
    return fail(errc::invalid_argument, "bad_prices", "the price table has no list \"models\"",
                "Copy the shape of the built-in one.");
  price_table t;
  t.version_ = doc->value("version", "");
  if (auto ok = read_into((*doc)["models"], t.table_); !ok) return ok.error();
  if (overrides.is_array())
    if (auto ok = read_into(overrides, t.overrides_); !ok) return ok.error();
  return t;
}

priced price_table::find(std::string_view kind, std::string_view model, std::string_view day) const {
  // Names of models behind a router carry their maker: "anthropic/claude-…".
  const auto slash = model.rfind('/');
  const auto bare = slash == std::string_view::npos ? model : model.substr(slash + 1);
  for (const auto name : {model, bare}) {
    if (const auto* own = best_of(overrides_, kind, name, day)) return {*own, true, "configuration"};
    if (const auto* found = best_of(table_, kind, name, day)) return {*found, true, "table"};
  }
  price highest;
  highest.max_output = 0;
  const bool provider_known =
      std::any_of(table_.begin(), table_.end(), [&](const price& p) { return p.provider == kind; });
  for (const auto& p : table_) {
    if (provider_known && p.provider != kind) continue;
    raise(highest.normal, p.normal);
    raise(highest.normal, p.long_prompt);
    highest.max_output = std::max(highest.max_output, p.max_output);
    highest.context = std::max(highest.context, p.context);
  }
  highest.long_prompt = highest.normal;
  return {highest, false, "highest_of_provider"};
}

bool matches(std::string_view pattern, std::string_view text) noexcept {
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace caged::transport_llm
