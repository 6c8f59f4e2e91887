#include "core/operation/statement.hpp"

#include <cstdio>

namespace caged::operation {
namespace {

std::string exact_money(std::int64_t micro) {
  char text[48];
  std::snprintf(text, sizeof text, "%lld.%06lld", static_cast<long long>(micro / 1'000'000),
                static_cast<long long>(micro % 1'000'000));
  return text;
}

std::string csv_field(std::string text) {
  if (!text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos) text.insert(0, 1, '\'');
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string html_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string amounts_table(const json& statement, const char* list, const char* key, const char* title) {
  if (!statement.contains(list) || statement[list].empty()) return {};
  std::string out = "<h2>" + std::string(title) + "</h2>\n<table><tr><th>" + key + "</th><th>US dollars</th></tr>\n";
  for (const json& row : statement[list])
    out += "<tr><td>" + html_text(row.value(key, "")) + "</td><td class=n>" + exact_money(row.value("amount_micro", std::int64_t{0})) +
           "</td></tr>\n";
  return out + "</table>\n";
}

}  // namespace

std::string statement_csv(const json& statement) {
  std::string out = "day,sandbox,session,item,model,quantity,unit,amount_usd\n";
  for (const json& l : statement.value("lines", json::array())) {
    const std::string item = l.value("item", "");
    for (const char* key : {"day", "sandbox_id", "session_id", "item", "model"}) out += csv_field(l.value(key, "")) + ",";
    out += std::to_string(l.value("quantity", std::int64_t{0})) + ",";
    out += item == "compute" ? "microseconds," : item == "egress" ? "bytes," : "tokens,";
    out += exact_money(l.value("amount_micro", std::int64_t{0})) + "\n";
  }
  return out;
}

std::string statement_html(const json& s) {
  std::string out =
      "<!doctype html><html lang=en><meta charset=utf-8><title>Statement</title><style>body{font:14px sans-serif;"
      "max-width:50em;margin:2em auto}table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;"
      "padding:.3em;text-align:left}.n{text-align:right;font-variant-numeric:tabular-nums}@media print{body{margin:0}}"
      "</style>\n<h1>Statement</h1>\n";
  out += "<p>Account " + html_text(s.value("account", "")) + ", " + html_text(s.value("from", "")) + " to " + html_text(s.value("to", "")) +
         "</p>\n<p><b>Total: $" + exact_money(s.value("total_micro", std::int64_t{0})) + "</b></p>\n";
  out += amounts_table(s, "items", "item", "By item") + amounts_table(s, "days", "day", "By day") +
         amounts_table(s, "sandboxes", "sandbox_id", "By sandbox") + amounts_table(s, "sessions", "session_id", "By session") +
         amounts_table(s, "models", "model", "By model");
  return out + "</html>\n";
}

}  // namespace caged::operation
