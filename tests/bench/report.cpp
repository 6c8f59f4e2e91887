#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

namespace caged::bench {

double series::percentile(double p) const {
  if (values.empty()) return 0;
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

namespace {

std::optional<double> ratio(const comparison& c) {
  const double other = c.peer.percentile(50);
  if (c.peer_name.empty() || other <= 0) return std::nullopt;
  return c.ours.percentile(50) / other;
}

std::string numbers(const series& s) {
  if (s.values.empty()) return "-";
  char text[96];
  if (s.values.size() < 3) {
    std::snprintf(text, sizeof text, "%.1f %s", s.percentile(50), s.unit.c_str());
  } else {
    std::snprintf(text, sizeof text, "%.1f / %.1f / %.1f %s", s.percentile(50), s.percentile(95), s.percentile(99),
                  s.unit.c_str());
  }
  return text;
}

std::string promise(const comparison& c) {
  char text[64] = "";
  if (c.ratio_at_most) std::snprintf(text, sizeof text, "ratio <= %.2f", *c.ratio_at_most);
  if (c.ratio_at_least) std::snprintf(text, sizeof text, "ratio >= %.2f", *c.ratio_at_least);
  if (c.value_at_most) std::snprintf(text, sizeof text, "<= %.0f %s", *c.value_at_most, c.ours.unit.c_str());
  return text;
}

json to_json(const series& s) {
  json out = json::object();
  out["unit"] = s.unit;
  out["samples"] = s.values.size();
  out["p50"] = s.percentile(50);
  out["p95"] = s.percentile(95);
  out["p99"] = s.percentile(99);
  return out;
}

json to_json(const comparison& c) {
  json out = json::object();
  out["name"] = c.name;
  out["what"] = c.what;
  out["ours"] = to_json(c.ours);
  if (!c.peer_name.empty()) {
    out["peer"] = to_json(c.peer);
    out["peer"]["name"] = c.peer_name;
  }
  if (const auto r = ratio(c)) out["ratio"] = *r;
  if (const auto k = kept(c)) {
    out["promise"] = promise(c);
    out["kept"] = *k;
  }
  return out;
}

}  // namespace

std::optional<bool> kept(const comparison& c) {
  const auto r = ratio(c);
  if (c.ratio_at_most) return r && *r <= *c.ratio_at_most;
  if (c.ratio_at_least) return r && *r >= *c.ratio_at_least;
  if (c.value_at_most) return !c.ours.values.empty() && c.ours.percentile(50) <= *c.value_at_most;
  return std::nullopt;
}

bool print(const std::vector<comparison>& lines, const std::string& json_file) {
  json document = json::array();
  std::printf("\nMedian / p95 / p99, ours and the peer's, taken in turns in one run.\n\n");
  for (const comparison& c : lines) {
    std::printf("%-14s %s\n", c.name.c_str(), c.what.c_str());
    std::printf("%-14s   ours  %s\n", "", numbers(c.ours).c_str());
    if (!c.peer_name.empty()) std::printf("%-14s   peer  %s  (%s)\n", "", numbers(c.peer).c_str(), c.peer_name.c_str());
    if (const auto r = ratio(c)) std::printf("%-14s   ratio %.2f\n", "", *r);
    if (const auto k = kept(c))
      std::printf("%-14s   promised %s: %s\n", "", promise(c).c_str(), *k ? "kept" : "NOT KEPT");
    document.push_back(to_json(c));
  }
  std::fflush(stdout);
  if (json_file.empty()) return true;
  std::ofstream out(json_file);
  out << document.dump(2) << '\n';
  out.flush();
  if (!out) std::fprintf(stderr, "error: cannot write %s\n", json_file.c_str());
  return static_cast<bool>(out);
}

double time_us(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

void alternate(int rounds, int samples, series& ours, const std::function<double()>& one, series& peer,
               const std::function<double()>& other) {
  for (int i = 0; i < 2; ++i) {
    (void)one();
    (void)other();
  }
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < samples; ++i) ours.values.push_back(one());
    for (int i = 0; i < samples; ++i) peer.values.push_back(other());
  }
}

}  // namespace caged::bench
