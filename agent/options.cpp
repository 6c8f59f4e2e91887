#include "options.hpp"

#include <cstdlib>
#include <cstring>

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

bool read_number(const std::string& text, int low, int high, int& out) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < low || value > high) return false;
  out = static_cast<int>(value);
  return true;
}

bool read_bool(const std::string& text, bool& out) {
  out = text == "true" || text == "1" || text == "yes" || text.empty();
  return out || text == "false" || text == "0" || text == "no";
}

bool read_interval(const std::string& text, std::chrono::milliseconds low, std::chrono::milliseconds& out) {
  const auto value = parse_duration(text);
  if (value < low || value > 24h) return false;
  out = value;
  return true;
}

// Returns what was expected where the value does not fit, nullptr where it does.
const char* set(options& o, const std::string& name, const std::string& value) {
  constexpr const char* duration = "a duration such as 5s or 300ms";
  if (name == "workspace") return o.workspace = value, value.empty() ? "a folder" : nullptr;
  if (name == "socket") return o.socket = value, value.empty() ? "a path" : nullptr;
  if (name == "heartbeat-interval") return read_interval(value, 10ms, o.heartbeat_interval) ? nullptr : duration;
  if (name == "metrics-interval") return read_interval(value, 10ms, o.metrics_interval) ? nullptr : duration;
  if (name == "log-level")
    return (o.level = log_level_of(value)) != log_level::unset ? nullptr : "debug, info, warn or error";
  if (name == "watch-files") return read_bool(value, o.watch_files) ? nullptr : "true or false";
  if (name == "watch-debounce") return read_interval(value, 0ms, o.watch_debounce) ? nullptr : duration;
  if (name == "watch-rate-limit") {
    // "200/s" is how the rate is written elsewhere.
    const std::string plain = value.size() > 2 && value.ends_with("/s") ? value.substr(0, value.size() - 2) : value;
    return read_number(plain, 1, 100000, o.watch_rate_limit) ? nullptr : "a number from 1 to 100000";
  }
  if (name == "listen-fd") return read_number(value, 0, 1 << 20, o.listen_fd) ? nullptr : "a descriptor number";
  if (name == "env-fd") return read_number(value, 0, 1 << 20, o.env_fd) ? nullptr : "a descriptor number";
  if (name == "ready-fd") return read_number(value, 0, 1 << 20, o.ready_fd) ? nullptr : "a descriptor number";
  if (name == "handover") return o.handover = value, value.empty() ? "a path" : nullptr;
  return "";
}

void read_variables(options& o) {
  constexpr const char* names[] = {"workspace", "socket",      "heartbeat-interval", "metrics-interval",
                                   "log-level", "watch-files", "watch-debounce",     "watch-rate-limit"};
  for (const char* name : names) {
    std::string variable = "CAGED_";
    for (const char* c = name; *c != '\0'; ++c) variable += *c == '-' ? '_' : static_cast<char>(*c - 'a' + 'A');
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    if (const char* expected = set(o, name, value)) o.error = variable + " is \"" + value + "\"; expected " + expected;
  }
}

}  // namespace

std::chrono::milliseconds parse_duration(const std::string& text) {
  std::chrono::milliseconds total{0};
  const char* at = text.c_str();
  if (*at == '\0') return -1ms;
  while (*at != '\0') {
    char* end = nullptr;
    if ((*at < '0' || *at > '9') && *at != '.') return -1ms;
    const double value = std::strtod(at, &end);
    if (end == at || value > 1e9) return -1ms;
    double unit = 1000;
    if (std::strncmp(end, "ms", 2) == 0)
      unit = 1, end += 2;
    else if (*end == 's')
      ++end;
    else if (*end == 'm')
      unit = 60e3, ++end;
    else if (*end == 'h')
      unit = 3600e3, ++end;
    else if (*end != '\0')
      return -1ms;
    total += std::chrono::milliseconds(static_cast<std::int64_t>(value * unit));
    at = end;
  }
  return total;
}

options read_options(int argc, char** argv) {
  options o;
  read_variables(o);
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    if (arg.rfind("-", 0) != 0) {
      o.error = "unexpected argument \"" + arg + "\"";
      return o;
    }
    arg.erase(0, arg.rfind("--", 0) == 0 ? 2 : 1);
    const std::size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    if (name == "version")
      o.version = true;
    else if (name == "help" || name == "h")
      o.help = true;
    else if (name == "guest" && !has_value)
      o.guest = true;
    else if (name == "subscribe" && !has_value)
      o.subscribe = true;
    else if (name == "subscribe")
      read_bool(arg.substr(equals + 1), o.subscribe);
    else {
      // --watch-files alone means true, as a boolean flag does.
      const bool alone = name == "watch-files" && !has_value;
      if (!has_value && !alone && i + 1 >= argc) {
        o.error = "--" + name + " needs a value";
        return o;
      }
      const std::string value = has_value ? arg.substr(equals + 1) : alone ? "true" : argv[++i];
      const char* expected = set(o, name, value);
      if (expected != nullptr) {
        o.error =
            *expected == '\0' ? "unknown flag --" + name : "--" + name + " is \"" + value + "\"; expected " + expected;
        return o;
      }
    }
  }
  return o;
}

const char* usage() noexcept {
  return "usage: caged-agent [flags]\n"
         "  --workspace DIR             folder of the project [CAGED_WORKSPACE, /workspace]\n"
         "  --socket PATH               Unix socket to serve on [CAGED_SOCKET, /run/caged/agent.sock]\n"
         "  --heartbeat-interval D      [CAGED_HEARTBEAT_INTERVAL, 5s]\n"
         "  --metrics-interval D        [CAGED_METRICS_INTERVAL, 10s]\n"
         "  --log-level LEVEL           debug, info, warn, error [CAGED_LOG_LEVEL, info]\n"
         "  --watch-files=BOOL          offer the stream of file changes [CAGED_WATCH_FILES, true]\n"
         "  --watch-debounce D          [CAGED_WATCH_DEBOUNCE, 300ms]\n"
         "  --watch-rate-limit N        file changes per second [CAGED_WATCH_RATE_LIMIT, 200]\n"
         "  --subscribe                 print the change stream of a running agent to stdout\n"
         "  --version                   print the version\n"
         "started by a backend:\n"
         "  --listen-fd N               serve the caged-wire protocol on this listening socket\n"
         "  --env-fd N                  JSON object: the environment of every process it starts\n"
         "  --ready-fd N                gets one byte when the agent is ready\n"
         "  --guest                     be the first process of a virtual machine\n"
         "  --handover PATH             receive these three as descriptors from the socket at PATH\n";
}

}  // namespace caged::agent
