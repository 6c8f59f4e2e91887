#include "metrics.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

namespace caged::rest {
namespace {

std::string number_text(double number) {
  std::array<char, 40> text{};
  // 17 digits keep counters exact; %g leaves whole numbers whole.
  std::snprintf(text.data(), text.size(),
                number == static_cast<double>(static_cast<std::int64_t>(number)) ? "%.0f" : "%.9g", number);
  return text.data();
}

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\n')
      out += "\\n";
    else if (c == '"' || c == '\\')
      out.append({'\\', c});
    else
      out += c;
  }
  return out;
}

int open_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (!folder) return -1;
  int count = -3;  // ".", ".." and this folder itself
  while (readdir(folder.get()) != nullptr) ++count;
  return count;
}

}  // namespace

void write_family(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out.append("# HELP ")
      .append(name)
      .append(" ")
      .append(help)
      .append("\n# TYPE ")
      .append(name)
      .append(" ")
      .append(type)
      .append("\n");
}

void write_sample(std::string& out, std::string_view name, std::string_view label, std::string_view value,
                  double number) {
  out.append(name);
  if (!label.empty()) out.append("{").append(label).append("=\"").append(escaped(value)).append("\"}");
  out.append(" ").append(number_text(number)).append("\n");
}

void request_metrics::count(std::string_view route, int status, std::chrono::steady_clock::duration took) {
  const double seconds = std::chrono::duration<double>(took).count();
  const std::lock_guard guard(lock_);
  ++requests_[{std::string(route), status}];
  auto it = durations_.find(route);
  if (it == durations_.end()) it = durations_.emplace(std::string(route), histogram{}).first;
  auto& h = it->second;
  ++h.count;
  h.sum += seconds;
  ++h.buckets[static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), seconds) - bounds.begin())];
}

void request_metrics::write(std::string& out) const {
  const std::lock_guard guard(lock_);
  write_family(out, "caged_http_requests_total", "counter", "Requests answered, by operation and status.");
  for (const auto& [key, count] : requests_)
    out += "caged_http_requests_total{route=\"" + escaped(key.first) + "\",status=\"" + std::to_string(key.second) +
           "\"} " + std::to_string(count) + "\n";
  write_family(out, "caged_http_request_duration_seconds", "histogram",
               "Time from the head of a request to the end of its answer.");
  for (const auto& [route, h] : durations_) {
    const std::string name = "caged_http_request_duration_seconds";
    const std::string label = "route=\"" + escaped(route) + "\"";
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      total += h.buckets[i];
      out += name + "_bucket{" + label + ",le=\"" + number_text(bounds[i]) + "\"} " + std::to_string(total) + "\n";
    }
    out += name + "_bucket{" + label + ",le=\"+Inf\"} " + std::to_string(h.count) + "\n";
    out += name + "_sum{" + label + "} " + number_text(h.sum) + "\n";
    out += name + "_count{" + label + "} " + std::to_string(h.count) + "\n";
  }
}

void write_process(std::string& out) {
  std::ifstream stat_file("/proc/self/stat");
  std::string stat((std::istreambuf_iterator<char>(stat_file)), {});
  const auto end = stat.rfind(')');  // the name may hold blanks
  if (end == std::string::npos) return;
  std::istringstream rest(stat.substr(end + 2));
  std::array<std::string, 22> fields;  // from field 3 on
  for (auto& field : fields) rest >> field;
  const auto field = [&fields](std::size_t number) { return std::strtod(fields[number - 3].c_str(), nullptr); };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  write_family(out, "process_cpu_seconds_total", "counter", "Processor time used, user and system.");
  write_sample(out, "process_cpu_seconds_total", {}, {}, (field(14) + field(15)) / ticks);
  write_family(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
  write_sample(out, "process_resident_memory_bytes", {}, {}, field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  write_family(out, "process_threads", "gauge", "Threads.");
  write_sample(out, "process_threads", {}, {}, field(20));
  write_family(out, "process_open_fds", "gauge", "Open file descriptors.");
  write_sample(out, "process_open_fds", {}, {}, open_descriptors());
}

void write_sandboxes(std::string& out, const json& list) {
  std::map<std::string, int> states;
  for (const char* state : {"pending", "running", "paused", "stopped", "error", "destroyed"}) states[state] = 0;
  const json& items = list.is_object() && list.contains("data") ? list.at("data") : list;
  if (items.is_array())
    for (const auto& one : items)
      if (one.is_object())
        if (const auto it = one.find("status"); it != one.end() && it->is_string()) ++states[it->get<std::string>()];
  write_family(out, "caged_sandboxes", "gauge", "Sandboxes by state.");
  for (const auto& [state, count] : states) write_sample(out, "caged_sandboxes", "status", state, count);
}

}  // namespace caged::rest
