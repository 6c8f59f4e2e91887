// file_list, file_delete and file_search.
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/change.hpp"
#include "fs/entry.hpp"
#include "fs/search.hpp"
#include "mcp/server/text_page.hpp"
#include "mcp/server/tools.hpp"

namespace caged::mcp {
namespace {

using agent::fd;

struct listing {
  std::size_t limit;
  const std::atomic<bool>& cancelled;
  std::string text;
  json entries = json::array();
  std::size_t bytes = 0;
  bool truncated = false;
};

// Symlinks are listed as what they are; nothing is learnt about where they lead.
void list_folder(listing& l, int folder, const std::string& prefix, std::int64_t depth) {
  bool more = false;
  for (const std::string& name : agent::names_in(folder, 100'000, more)) {
    if (l.entries.size() >= l.limit || l.bytes > page_bytes || l.cancelled) {
      l.truncated = true;
      return;
    }
    struct stat st {};
    if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    const bool below = S_ISDIR(st.st_mode);
    const std::string shown = repaired(prefix + name), size = below ? "-" : std::to_string(st.st_size);
    const std::string line = std::string(below                 ? "d "
                                         : S_ISLNK(st.st_mode) ? "l "
                                         : S_ISREG(st.st_mode) ? "- "
                                                               : "? ") +
                             size + " " + shown + "\n";
    l.bytes += line.size();
    l.text += line;
    l.entries.push_back({{"name", shown}, {"type", agent::type_name(st.st_mode)}, {"size", below ? 0 : st.st_size}});
    if (!below || depth <= 1) continue;
    if (const fd inner = agent::open_folder(folder, name)) list_folder(l, inner.get(), prefix + name + "/", depth - 1);
  }
  l.truncated = l.truncated || more;
}

tool_result list(const workspace& w, const tool_call& call) {
  const agent::arguments args(call.arguments());
  const std::string path = args.path("path", ".");
  const auto depth = args.number("depth", 1, 32, 1);
  listing l{
      static_cast<std::size_t>(args.number("limit", 1, 1000, 1000)), call.cancelled(), {}, json::array(), 0, false};
  const fd folder = w.files().open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  list_folder(l, folder.get(), "", depth);
  tool_result r;
  r.structured = {{"path", w.relative(path)}, {"truncated", l.truncated}};
  r.structured["entries"] = std::move(l.entries);
  r.text = l.text.empty() ? "(empty folder)" : std::move(l.text);
  if (l.truncated) r.text += "[more entries than fit; list a folder inside, or less depth]";
  return r;
}

// A pattern without a folder means files of that name anywhere, as people write it.
std::string anywhere(const std::string& pattern) {
  return pattern.find('/') == std::string::npos ? "**/" + pattern : pattern;
}

// A search of one file names it as it was asked for, one of a folder what lies in it.
std::string below(const workspace& w, const std::string& path, const std::string& found) {
  struct stat st {};
  if (found == path && ::fstat(w.files().open(path, O_PATH).get(), &st) == 0 && S_ISREG(st.st_mode))
    return w.relative(path);
  const std::string base = w.relative(path);
  return base == "." ? found : base + "/" + found;
}

std::string note(const json& answer) {
  if (!answer.at("truncated").get<bool>()) return {};
  return "[there is more; stopped by: " + answer.value("stopped_by", std::string("limit")) + ". Narrow the search]";
}

tool_result search_names(const workspace& w, const tool_call& call, const agent::arguments& args) {
  const std::string path = args.path("path", ".");
  json asked{{"pattern", anywhere(args.text("pattern"))},
             {"path", path},
             {"limit", args.number("limit", 1, 2000, 500)},
             {"timeout_ms", 20000}};
  asked["respect_gitignore"] = !args.flag("include_ignored", false);
  const json found = agent::glob_files(w.files(), agent::arguments(asked), call.cancelled());
  tool_result r;
  json paths = json::array();
  bool cut = false;
  for (const json& row : found.at("paths")) {
    const std::string shown = repaired(below(w, path, row.at("path").get<std::string>()));
    if (r.text.size() + shown.size() > page_bytes) {
      cut = true;
      break;
    }
    r.text += shown + "\n";
    paths.push_back(shown);
  }
  r.structured = {{"count", paths.size()}, {"truncated", cut || found.at("truncated").get<bool>()}};
  r.structured["paths"] = std::move(paths);
  if (r.text.empty())
    r.text = "no matches found";
  else
    r.text += cut ? "[there is more than a page. Narrow the search]" : note(found);
  return r;
}

tool_result search_content(const workspace& w, const tool_call& call, const agent::arguments& args) {
  const std::string path = args.path("path", ".");
  json asked{{"pattern", args.text("content")},
             {"path", path},
             {"limit", args.number("limit", 1, 2000, 500)},
             {"timeout_ms", 20000},
             {"max_line", 300}};
  const std::string pattern = args.text("pattern", "**");
  if (pattern != "**" && pattern != "*" && pattern != "**/*") asked["glob"] = anywhere(pattern);
  asked["literal"] = args.flag("literal", false);
  asked["ignore_case"] = args.flag("ignore_case", false);
  asked["respect_gitignore"] = !args.flag("include_ignored", false);
  json found = agent::search_files(w.files(), agent::arguments(asked), call.cancelled());
  tool_result r;
  json matches = json::array();
  bool cut = false;
  for (json& row : found.at("matches")) {
    const std::string shown = repaired(below(w, path, row.at("path").get<std::string>()));
    const std::string text = plain(row.at("text").get<std::string>());
    const std::string line = shown + ":" + std::to_string(row.at("line").get<std::int64_t>()) + ":" + text + "\n";
    if (r.text.size() + line.size() > page_bytes) {
      cut = true;
      break;
    }
    r.text += line;
    matches.push_back({{"path", shown}, {"line", row.at("line")}, {"column", row.at("column")}, {"text", text}});
  }
  r.structured = {{"count", matches.size()},
                  {"truncated", cut || found.at("truncated").get<bool>()},
                  {"files_searched", found.at("files_searched")}};
  r.structured["matches"] = std::move(matches);
  if (r.text.empty())
    r.text = "no matches found";
  else
    r.text += cut ? "[there is more than a page. Narrow the search]" : note(found);
  return r;
}

}  // namespace

void file_list(workspace& w, const call_ptr& call) {
  const auto work = [&w](const tool_call& c) { return list(w, c); };
  if (agent::arguments(call->arguments()).number("depth", 1, 32, 1) > 1) return w.job(call, work);
  call->answer(list(w, *call));
}

void file_delete(workspace& w, const call_ptr& call) {
  w.job(call, [&w](const tool_call& c) {
    const agent::arguments args(c.arguments());
    const std::string path = args.path();
    w.refuse_git_folder(path);
    const json gone = agent::remove_entry(
        w.files(), agent::arguments(json{{"path", path}, {"recursive", args.flag("recursive", true)}}), c.cancelled());
    tool_result r;
    r.structured = {{"path", w.relative(path)}, {"removed", gone.at("removed")}};
    r.text =
        "deleted " + w.relative(path) + " (" + std::to_string(gone.at("removed").get<std::int64_t>()) + " entries)";
    return r;
  });
}

void file_search(workspace& w, const call_ptr& call) {
  w.job(call, [&w](const tool_call& c) {
    const agent::arguments args(c.arguments());
    if (args.has("content")) return search_content(w, c, args);
    return search_names(w, c, args);
  });
}

}  // namespace caged::mcp
