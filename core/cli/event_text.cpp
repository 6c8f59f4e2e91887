#include <core/cli/event_text.hpp>

#include <ctime>

namespace caged::cli {
namespace {

constexpr std::size_t most_detail = 300;

std::string time_of(const json& event) {
  if (event.contains("timestamp") && event["timestamp"].is_string()) return event["timestamp"].get<std::string>();
  if (!event.contains("time_us") || !event["time_us"].is_number_integer()) return "-";
  const auto micros = event["time_us"].get<std::int64_t>();
  const std::time_t seconds = static_cast<std::time_t>(micros / 1'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  const std::size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03dZ", static_cast<int>(micros / 1000 % 1000));
  return std::string(text, n) + fraction;
}

std::string value_text(const json& value) {
  if (!value.is_string()) return to_text(value);
  const auto& text = value.get_ref<const std::string&>();
  const bool simple = !text.empty() && text.find_first_of(" \"\n\t=") == std::string::npos;
  return simple ? text : to_text(value);
}

// Cut to `limit` bytes, but not inside a character.
std::string shortened(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return text.substr(0, limit) + "...";
}

}  // namespace

std::string event_line(const json& event, colors use) {
  if (!event.is_object()) return printable(to_text(event)) + "\n";
  std::string detail;
  const json data = event.value("data", json());
  if (data.is_object()) {
    for (const auto& [key, value] : data.items()) detail += (detail.empty() ? "" : " ") + key + "=" + value_text(value);
  } else if (!data.is_null()) {
    detail = to_text(data);
  }
  const std::string type = printable(field(event, "type"));
  return colored(printable(field(event, "id")), tint::dim, use) + "  " +
         colored(printable(time_of(event)), tint::dim, use) + "  " +
         colored(type, type == "error" ? tint::red : tint::bold, use) + "  " + printable(field(event, "sandbox_id")) +
         "  " + printable(shortened(std::move(detail), most_detail)) + "\n";
}

std::string log_line(const json& line) {
  if (!line.is_object()) return printable(to_text(line)) + "\n";
  return printable(field(line, "timestamp")) + " [" + printable(field(line, "type")) + "] " +
         printable(field(line, "message")) + "\n";
}

}  // namespace caged::cli
