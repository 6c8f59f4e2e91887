#include <core/cli/client_config.hpp>

#include <sys/stat.h>

#include <cstdlib>

#include <core/base/file.hpp>
#include <core/cli/toml_statements.hpp>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;
using ordered = nlohmann::ordered_json;  // people keep their files in an order of their own

std::string quoted(const std::string& text) { return json(text).dump(); }

using toml_key = std::vector<std::string>;

std::string toml_members(const mcp_entry& e, const std::string& newline) {
  std::string text = "command = " + quoted(e.command) + newline + "args = [";
  for (std::size_t i = 0; i < e.arguments.size(); ++i) text += (i == 0 ? "" : ", ") + quoted(e.arguments[i]);
  return text + "]" + newline;
}

// Puts one server's table into a document. What else was set in it, a time limit for instance, stays.
class toml_editor {
 public:
  toml_editor(const std::string& text, const mcp_entry& e)
      : text_(text), entry_(e), newline_(text.find("\r\n") == std::string::npos ? "\n" : "\r\n") {}

  result<std::string> run() {
    auto parsed = toml_statements(text_);
    if (!parsed) return parsed.error();
    for (const toml_statement& s : *parsed) env_has_table_ = env_has_table_ || (is_table(s) && s.key == env());
    for (const toml_statement& s : *parsed)
      if (!take(s))
        return fail(errc::conflict, "entry_elsewhere", "it sets " + where_ + " in a form that cannot be changed safely",
                    "Write it as a table [mcp_servers." + quoted(entry_.name) + "], or change it by hand.");
    out_ += text_.substr(kept_);
    if (placed_) return out_;
    if (!out_.empty() && out_.back() != '\n') out_ += newline_;
    if (!out_.empty()) out_ += newline_;
    return out_ + "[mcp_servers." + quoted(entry_.name) + "]" + newline_ + members();
  }

 private:
  static bool is_table(const toml_statement& s) { return s.what == toml_statement::kind::table; }
  toml_key own() const { return {"mcp_servers", entry_.name}; }
  toml_key env() const { return {"mcp_servers", entry_.name, "env"}; }
  std::string url_line() const { return "CAGED_API_URL = " + quoted(entry_.api_url); }
  std::string members() const {
    std::string text = toml_members(entry_, newline_);
    if (!entry_.api_url.empty() && !env_has_table_) text += "env = { " + url_line() + " }" + newline_;
    return text;
  }
  void copy_to(std::size_t end) {
    out_ += text_.substr(kept_, end - kept_);
    kept_ = end;
  }
  void drop(const toml_statement& s) {
    copy_to(s.begin);
    kept_ = s.end;
  }
  void add_behind(const toml_statement& header, const std::string& lines) {
    copy_to(header.end);
    if (out_.back() != '\n') out_ += newline_;
    out_ += lines;
  }
  bool take(const toml_statement& s) {
    if (s.what == toml_statement::kind::value) return take_value(s);
    table_ = s.key;
    where_ = "mcp_servers";
    const bool whole = s.key == toml_key{"mcp_servers"} || s.key == own() || s.key == env();
    if (!is_table(s)) return !whole;
    if (s.key == own()) {
      placed_ = true;
      add_behind(s, members());
    } else if (s.key == env() && !entry_.api_url.empty()) {
      add_behind(s, url_line() + newline_);
    }
    return true;
  }
  bool take_value(const toml_statement& s) {
    toml_key full = table_;
    full.insert(full.end(), s.key.begin(), s.key.end());
    where_.clear();
    for (const std::string& part : full) where_ += (where_.empty() ? "" : ".") + part;
    if (table_ == own()) {
      const std::string& name = s.key[0];
      if (name == "command" || name == "args" || name == "url") {
        drop(s);
      } else if (name == "env" && !entry_.api_url.empty()) {
        // Ours can be replaced; one that holds more cannot.
        const std::string held = text_.substr(s.begin, s.end - s.begin);
        if (s.key.size() > 1 || held.find("{ CAGED_API_URL = ") == std::string::npos ||
            held.find(',') != std::string::npos)
          return false;
        drop(s);
      }
      return true;
    }
    if (table_ == env()) {
      if (s.key == toml_key{"CAGED_API_URL"} && !entry_.api_url.empty()) drop(s);
      return true;
    }
    const bool ours = full.size() >= 2 && full[0] == "mcp_servers" && full[1] == entry_.name && table_.size() < 2;
    return !ours && full != toml_key{"mcp_servers"};
  }

  const std::string& text_;
  const mcp_entry& entry_;
  const std::string newline_;
  std::string out_, where_;
  std::size_t kept_ = 0;  // up to where the text is in `out_`, or left out
  bool placed_ = false, env_has_table_ = false;
  toml_key table_;
};

ordered json_entry(mcp_client client, const mcp_entry& e) {
  ordered entry = ordered::object();
  if (client != mcp_client::cursor) entry["type"] = "stdio";
  entry["command"] = e.command;
  entry["args"] = e.arguments;
  // The key stays where it is: the bridge finds it as every command does.
  if (!e.api_url.empty()) entry["env"]["CAGED_API_URL"] = e.api_url;
  return entry;
}

// As the file has it: blanks in front of its first member.
std::string indentation_of(const std::string& text) {
  const auto line = text.find("\n");
  if (line == std::string::npos) return "  ";
  const auto end = text.find_first_not_of(" \t", line + 1);
  const std::string blanks = end == std::string::npos ? "" : text.substr(line + 1, end - line - 1);
  return blanks.empty() ? "  " : blanks;
}

result<std::string> with_json_entry(mcp_client client, const std::string& text, const mcp_entry& e) {
  ordered document = ordered::object();
  if (text.find_first_not_of(" \t\r\n") != std::string::npos) {
    try {
      document = ordered::parse(text);
    } catch (const ordered::parse_error& problem) {
      return fail(errc::invalid_argument, "bad_json",
                  "it is no JSON near byte " + std::to_string(problem.byte) +
                      " (comments and commas at the end cannot be kept)",
                  "Mend the file, or add the server by hand.");
    }
  }
  const char* key = client == mcp_client::vscode ? "servers" : "mcpServers";
  if (!document.is_object() || (document.contains(key) && !document[key].is_object()))
    return fail(errc::invalid_argument, "bad_document",
                document.is_object() ? std::string("\"") + key + "\" is no object" : std::string("it is no object"),
                "Mend the file, or add the server by hand.");
  ordered entry = json_entry(client, e);
  // What else was set for this server, a time limit for instance, stays.
  if (document.contains(key) && document[key].contains(e.name) && document[key][e.name].is_object())
    for (const auto& [name, value] : document[key][e.name].items()) {
      if (name == "env" && value.is_object() && entry.contains(name))
        for (const auto& [variable, content] : value.items())
          if (variable != "CAGED_API_URL") entry[name][variable] = content;
      if (name != "url" && !entry.contains(name)) entry[name] = value;
    }
  document[key][e.name] = std::move(entry);
  const std::string blanks = indentation_of(text);
  std::string out = document.dump(static_cast<int>(blanks.size()), blanks[0]) + "\n";
  if (text.find("\r\n") != std::string::npos)
    for (std::size_t at = 0; (at = out.find('\n', at)) != std::string::npos; at += 2) out.insert(at, 1, '\r');
  return out;
}

std::string home() {
  const char* found = std::getenv("HOME");
  return found == nullptr || *found == '\0' ? "." : found;
}

}  // namespace

result<mcp_client> parse_client(const std::string& name) {
  if (name == "claude-code") return mcp_client::claude_code;
  if (name == "cursor") return mcp_client::cursor;
  if (name == "vscode") return mcp_client::vscode;
  if (name == "codex") return mcp_client::codex;
  return fail(errc::invalid_argument, "unknown_client", "\"" + name + "\" is no client that this knows",
              "Use claude-code, cursor, codex or vscode.");
}

fs::path config_file_of(mcp_client client) {
  if (client == mcp_client::cursor) return ".cursor/mcp.json";
  if (client == mcp_client::vscode) return ".vscode/mcp.json";
  if (client == mcp_client::claude_code) return ".mcp.json";
  const char* own = std::getenv("CODEX_HOME");
  return (own != nullptr && *own != '\0' ? fs::path(own) : fs::path(home()) / ".codex") / "config.toml";
}

result<std::string> with_entry(mcp_client client, const std::string& text, const mcp_entry& entry) {
  return client == mcp_client::codex ? toml_editor(text, entry).run() : with_json_entry(client, text, entry);
}

result<config_change> write_client_config(mcp_client client, const fs::path& file, const mcp_entry& entry) {
  std::error_code ec;
  const fs::path real = fs::weakly_canonical(file, ec);
  if (ec) return fail(errc::invalid_argument, "bad_path", file.string() + ": " + ec.message(), "Name another file.");
  struct stat st {};
  const bool there = ::stat(real.c_str(), &st) == 0;
  std::string text;
  if (there) {
    auto read = base::read_file(real, 16u << 20);
    if (!read) return read.error();
    text = std::move(*read);
  }
  auto wanted = with_entry(client, text, entry);
  if (!wanted) {
    error problem = wanted.error();
    problem.message = file.string() + " was not changed: " + problem.message;
    return problem;
  }
  if (there && *wanted == text) return config_change::none;
  const mode_t mode = there ? st.st_mode & 0777 : 0644;
  if (there) {
    const fs::path backup = real.string() + ".caged-backup";
    if (auto kept = base::write_file(backup, text, mode); !kept) return kept.error();
  } else if (auto made = base::make_folder(fs::absolute(real).parent_path(), 0755); !made) {
    return made.error();
  }
  if (auto written = base::write_file(real, *wanted, mode); !written) return written.error();
  return there ? config_change::changed : config_change::created;
}

}  // namespace caged::cli
