// What literal pipelines print: enough to read through echo … | base64 -d and its relatives.
#include <core/policy/shell_reader.hpp>

#include <algorithm>

namespace caged::policy::shell {
namespace {

constexpr std::size_t max_output = 64 * 1024;

bool all_literal(const command& c) {
  return !c.group && std::none_of(c.words.begin(), c.words.end(), [](const word& w) { return w.dynamic; }) &&
         std::all_of(c.redirects.begin(), c.redirects.end(),
                     [](const redirect& r) { return r.op == "<<<" || r.op == "<<" || r.fd == 2; });
}

std::string_view base_name(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

std::string with_escapes(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\\') {
      ++at;
      append_escape(out, text, at);
    } else {
      out += text[at++];
    }
  }
  return out;
}

std::string echo(const command& c) {
  std::size_t i = 1;
  bool newline = true, escapes = false;
  for (; i < c.words.size(); ++i) {
    const auto& flag = c.words[i].text;
    if (flag.size() < 2 || flag[0] != '-' || flag.find_first_not_of("neE", 1) != std::string::npos) break;
    newline = newline && flag.find('n') == std::string::npos;
    escapes = escapes || flag.find('e') != std::string::npos;
  }
  std::string out;
  for (std::size_t first = i; i < c.words.size(); ++i) out += (i == first ? "" : " ") + c.words[i].text;
  if (escapes) out = with_escapes(out);
  return newline ? out + "\n" : out;
}

std::string print_formatted(const command& c) {
  if (c.words.size() < 2) return {};
  std::size_t next = 1;
  if (c.words[1].text == "--" && c.words.size() > 2) next = 2;
  const std::string format = c.words[next++].text;
  std::string out;
  do {
    for (std::size_t at = 0; at < format.size() && out.size() < max_output;) {
      if (format[at] == '\\') {
        ++at;
        append_escape(out, format, at);
      } else if (format[at] == '%' && at + 1 < format.size()) {
        ++at;
        if (format[at] == '%')
          out += '%';
        else {
          while (at < format.size() && std::string_view("-+ #0123456789.").find(format[at]) != std::string_view::npos)
            ++at;
          const char conversion = at < format.size() ? format[at] : 's';
          const std::string value = next < c.words.size() ? c.words[next].text : "";
          ++next;
          out += conversion == 'b' ? with_escapes(value) : value;
        }
        ++at;
      } else {
        out += format[at++];
      }
    }
  } while (next < c.words.size() && format.find('%') != std::string::npos && out.size() < max_output && next < 256);
  return out;
}

bool decodes_base64(const command& c) {
  for (std::size_t i = 1; i < c.words.size(); ++i) {
    const auto& flag = c.words[i].text;
    if (flag == "--decode" || flag == "-D") return true;
    if (flag.size() > 1 && flag[0] == '-' && flag[1] != '-' && flag.find('d') != std::string::npos) return true;
  }
  return false;
}

std::string hex_decode(std::string_view text) {
  std::string digits, out;
  for (const char c : text) {
    if (std::string_view("0123456789abcdefABCDEF").find(c) != std::string_view::npos) digits += c;
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return out;
}

std::string reversed_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    out.append(text.substr(0, end).rbegin(), text.substr(0, end).rend());
    if (end < text.size()) out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::optional<std::string> run(const command& c, const std::optional<std::string>& input) {
  if (!all_literal(c) || c.words.empty()) return std::nullopt;
  const auto name = base_name(c.words[0].text);
  if (name == "echo") return echo(c);
  if (name == "printf") return print_formatted(c);
  if (!input) return std::nullopt;
  if (name == "cat" && (c.words.size() == 1 || c.words[1].text == "-")) return input;
  if (name == "tee") return input;
  if (name == "base64" && decodes_base64(c)) return base64_decode(*input);
  if (name == "openssl" && c.words.size() > 1 && (c.words[1].text == "base64" || c.words[1].text == "enc") &&
      decodes_base64(c)) {
    return base64_decode(*input);
  }
  if (name == "xxd" && decodes_base64(c) == false && c.words.size() > 1) {
    for (const auto& w : c.words) {
      if (w.text.starts_with("-r") || (w.text.starts_with("-p") && w.text.find('r') != std::string::npos))
        return hex_decode(*input);
    }
  }
  if (name == "rev") return reversed_lines(*input);
  return std::nullopt;
}

}  // namespace

std::string base64_decode(std::string_view text) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (char c : text) {
    if (c == '=') break;
    if (c == '-') c = '+';
    if (c == '_') c = '/';
    const auto value = alphabet.find(c);
    if (value == std::string_view::npos) continue;
    bits = (bits << 6) | static_cast<unsigned>(value);
    if ((count += 6) >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xffu);
    }
  }
  return out;
}

std::optional<std::string> pipeline_output(const std::vector<command>& commands, std::size_t first, std::size_t count) {
  std::optional<std::string> text;
  for (std::size_t i = first; i < first + count; ++i) {
    std::optional<std::string> input = i == first ? std::nullopt : text;
    for (const auto& r : commands[i].redirects) {
      if ((r.op == "<<<" || r.op == "<<") && r.fd <= 0) input = r.body;
    }
    if (commands[i].group && commands[i].group->commands.size() == 1 && i == first) {
      text = pipeline_output(commands[i].group->commands, 0, 1);
    } else {
      text = run(commands[i], input);
    }
    if (!text || text->size() > max_output) return std::nullopt;
  }
  return text;
}

std::optional<std::string> static_output(const script& s) {
  if (!s.complete || s.commands.empty()) return std::nullopt;
  for (std::size_t i = 1; i < s.commands.size(); ++i) {
    if (s.commands[i].op != "|") return std::nullopt;
  }
  return pipeline_output(s.commands, 0, s.commands.size());
}

}  // namespace caged::policy::shell
