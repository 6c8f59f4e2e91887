// Files of sandboxes and the journals of sessions as resources.
#include <algorithm>

#include <caged/base64.hpp>
#include <caged/random.hpp>

#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

constexpr std::size_t most_bytes = 4u << 20;
constexpr std::size_t page_rows = 200;
constexpr std::size_t most_files = 19'000;  // the agent lists 20,000 at most
constexpr std::string_view workspace = "/workspace";

// caged://sandbox/ID/file/PATH, caged://session/ID/journal, and file:///PATH where there is one sandbox only.
struct address {
  enum class kind : std::uint8_t { unset = 0, file, journal } what = kind::unset;
  std::string id;
  std::string path;  // of files: absolute, inside the sandbox
};

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    out += '%';
    out += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789ABCDEF"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::optional<address> parse_address(const view& v, std::string_view uri) {
  address a;
  const auto take = [&uri](std::string_view prefix) {
    if (!uri.starts_with(prefix)) return false;
    uri.remove_prefix(prefix.size());
    return true;
  };
  if (take("file:///")) {
    if (v.sandbox().empty()) return std::nullopt;
    const auto path = percent_decoded(uri);
    if (!path) return std::nullopt;
    a.what = address::kind::file;
    a.id = v.sandbox();
    a.path = "/" + *path;
    return a;
  }
  const bool session = uri.starts_with("caged://session/");
  if (!take("caged://session/") && !take("caged://sandbox/")) return std::nullopt;
  const auto slash = uri.find('/');
  if (slash == std::string_view::npos || slash == 0) return std::nullopt;
  a.id = std::string(uri.substr(0, slash));
  uri.remove_prefix(slash + 1);
  if (session) {
    a.what = address::kind::journal;
    if (uri != "journal") return std::nullopt;
    return a;
  }
  if (!v.sandbox().empty() && a.id != v.sandbox()) return std::nullopt;
  if (!take("file/")) return std::nullopt;
  const auto path = percent_decoded(uri);
  if (!path) return std::nullopt;
  a.what = address::kind::file;
  a.path = path->starts_with('/') ? *path : "/" + *path;
  return a;
}

std::string file_address(const view& v, const std::string& id, const std::string& path) {
  return v.sandbox().empty() ? "caged://sandbox/" + id + "/file" + percent_encoded(path)
                             : "file://" + percent_encoded(path);
}

std::string mime_of(const std::string& path) {
  static const std::pair<std::string_view, std::string_view> known[] = {
      {".png", "image/png"},   {".jpg", "image/jpeg"},    {".jpeg", "image/jpeg"},       {".gif", "image/gif"},
      {".webp", "image/webp"}, {".svg", "image/svg+xml"}, {".json", "application/json"}, {".md", "text/markdown"},
      {".html", "text/html"},  {".css", "text/css"},      {".pdf", "application/pdf"}};
  for (const auto& [ending, type] : known)
    if (path.ends_with(ending)) return std::string(type);
  return "text/plain";
}

json file_row(const view& v, const std::string& id, const json& entry) {
  const std::string path = entry.value("path", "");
  const bool folder = entry.value("type", "") == "directory";
  json row{{"uri", file_address(v, id, path)},
           {"name", path},
           {"description", (folder ? "Folder of sandbox " : "File of sandbox ") + id}};
  row["mimeType"] = folder ? "inode/directory" : mime_of(path);
  if (!folder && entry.contains("size") && entry["size"].is_number_integer()) row["size"] = entry["size"];
  return row;
}

json journal_row(const std::string& session) {
  return {{"uri", "caged://session/" + session + "/journal"},
          {"name", "journal of " + session},
          {"description", "Every recorded fact of session " + session},
          {"mimeType", "application/json"}};
}

bool ok_text(const std::string& bytes) { return to_text(json(bytes)).find("\xef\xbf\xbd") == std::string::npos; }

}  // namespace

json platform_templates(const view& v) {
  json rows = json::array();
  if (v.sandbox().empty())
    rows.push_back(
        {{"uriTemplate", "caged://sandbox/{id}/file/{+path}"},
         {"name", "sandbox_file"},
         {"title", "A file or folder of a sandbox"},
         {"description",
          "A file of a sandbox, or the list of a folder; the path is absolute, as in workspace/src/main.c"}});
  else
    rows.push_back(
        {{"uriTemplate", "file:///{+path}"},
         {"name", "sandbox_file"},
         {"title", "A file or folder of the sandbox"},
         {"description",
          "A file of the sandbox, or the list of a folder; the path is absolute, as in workspace/src/main.c"}});
  rows.push_back({{"uriTemplate", "caged://session/{session}/journal"},
                  {"name", "session_journal"},
                  {"title", "The journal of a session"},
                  {"description", "What happened in a session: commands, files, network, money"},
                  {"mimeType", "application/json"}});
  return rows;
}

namespace {

// Where a page begins; cursors are what page_of() gave out and nothing else.
result<std::size_t> page_begin(const json& params) {
  const json cursor = params.is_object() ? params.value("cursor", json()) : json();
  if (cursor.is_null()) return std::size_t{0};
  const std::string given = cursor.is_string() ? cursor.get<std::string>() : std::string();
  constexpr std::string_view prefix = "from-";
  if (given.starts_with(prefix) && given.size() > prefix.size() && given.size() < 16 &&
      given.find_first_not_of("0123456789", prefix.size()) == std::string::npos)
    return static_cast<std::size_t>(std::stoull(given.substr(prefix.size())));
  return fail(errc::invalid_argument, "unknown_cursor", "unknown cursor", "Ask for the list without one.");
}

json page_of(json rows, std::size_t next) {
  json body{{"resources", std::move(rows)}};
  if (next != 0) body["nextCursor"] = "from-" + std::to_string(next);
  return body;
}

// The workspaces and journals of all sandboxes.
task<json> all_sandboxes(view_ptr v, std::size_t from) {
  json none = json::object();
  auto boxes = co_await v->invoke("sandbox.list", none);
  if (boxes.has_error()) co_return boxes.error();
  json rows = json::array();
  for (const json& row : v->list(mcp::list_kind::resources)) rows.push_back(row);
  for (const json& box : boxes->body) {
    if (box.value("status", "") == "destroyed") continue;
    const std::string id = box.value("id", "");
    json folder{{"path", workspace}, {"type", "directory"}};
    rows.push_back(file_row(*v, id, folder));
    if (box.contains("session_id") && box["session_id"].is_string())
      rows.push_back(journal_row(box["session_id"].get<std::string>()));
  }
  json page = json::array();
  for (std::size_t at = from; at < std::min(rows.size(), from + page_rows); ++at) page.push_back(rows[at]);
  co_return page_of(std::move(page), from + page_rows < rows.size() ? from + page_rows : 0);
}

// The files of one sandbox, without what git keeps for itself.
task<json> files_of(view_ptr v, std::size_t from) {
  json rows = json::array();
  json one{{"id", v->sandbox()}};
  auto box = co_await v->invoke("sandbox.get", one);
  if (box.has_error()) co_return box.error();
  if (from == 0) {
    for (const json& row : v->list(mcp::list_kind::resources)) rows.push_back(row);
    if (box->body.contains("session_id") && box->body["session_id"].is_string())
      rows.push_back(journal_row(box->body["session_id"].get<std::string>()));
  }
  json where{{"id", v->sandbox()}, {"path", workspace}, {"depth", 32}, {"limit", from + page_rows + 1}};
  auto files = co_await v->invoke("file.list", where);
  if (files.has_error()) co_return files.error();
  const json& found = files->body;
  for (std::size_t at = from; at < std::min(found.size(), from + page_rows); ++at)
    if (found[at].value("path", "").find("/.git/") == std::string::npos)
      rows.push_back(file_row(*v, v->sandbox(), found[at]));
  const bool more = found.size() > from + page_rows && from + page_rows < most_files;
  co_return page_of(std::move(rows), more ? from + page_rows : 0);
}

}  // namespace

task<json> platform_resources(view_ptr v, json params) {
  const auto from = page_begin(params);
  if (from.has_error()) co_return from.error();
  if (*from > most_files) co_return fail(errc::invalid_argument, "unknown_cursor", "unknown cursor", "");
  if (v->sandbox().empty()) co_return co_await all_sandboxes(v, *from);
  co_return co_await files_of(v, *from);
}

task<json> read_platform_resource(view_ptr v, std::string uri) {
  const auto where = parse_address(*v, uri);
  if (!where) co_return fail(errc::not_found, "no_such_resource", "there is no resource " + uri, "List the resources.");
  json content{{"uri", uri}};
  if (where->what == address::kind::journal) {
    if (!v->sandbox().empty()) {
      json one{{"id", v->sandbox()}};
      auto box = co_await v->invoke("sandbox.get", one);
      if (box.has_error()) co_return box.error();
      if (box->body.value("session_id", json()) != where->id)
        co_return fail(errc::not_found, "no_such_resource", "the session is not this sandbox's", "List the resources.");
    }
    json which{{"session", where->id}, {"limit", 1000}};
    auto page = co_await v->invoke("session.replay", which);
    if (page.has_error()) co_return page.error();
    content["mimeType"] = "application/json";
    content["text"] = to_text(page->body);
  } else {
    json file{{"id", where->id}, {"path", where->path}, {"follow", true}};
    auto facts = co_await v->invoke("file.stat", file);
    if (facts.has_error()) co_return facts.error();
    file.erase("follow");
    if (facts->body.value("type", "") == "directory") {
      auto rows = co_await v->invoke("file.list", file);
      if (rows.has_error()) co_return rows.error();
      json list = json::array();
      for (const json& entry : rows->body) list.push_back(file_row(*v, where->id, entry));
      content["mimeType"] = "inode/directory";
      content["text"] = to_text(list);
    } else {
      auto read = co_await v->invoke("file.read", file);
      if (read.has_error()) co_return read.error();
      std::string bytes;
      while (read->bytes) {
        auto piece = co_await read->bytes->read();
        if (piece.has_error()) co_return piece.error();
        if (piece->empty()) break;
        bytes += *piece;
        if (bytes.size() > most_bytes)
          co_return fail(errc::too_large, "resource_too_large", "the file has more than 4 MiB",
                         "Read a part of it with the tool file_read and its range.");
      }
      content["mimeType"] = mime_of(where->path);
      const bool text = ok_text(bytes);
      if (!text && content["mimeType"] == "text/plain") content["mimeType"] = "application/octet-stream";
      if (text)
        content["text"] = std::move(bytes);
      else
        content["blob"] = base64_encode(bytes);
    }
  }
  json body = json::object();
  body["contents"] = json::array();
  body["contents"].push_back(std::move(content));
  co_return body;
}

task<std::string> resource_mark(view_ptr v, std::string uri) {
  const auto where = parse_address(*v, uri);
  if (!where) co_return std::string();
  if (where->what == address::kind::journal) {
    json which{{"session", where->id}};
    auto facts = co_await v->invoke("session.get", which);
    if (facts.has_error()) co_return facts.error();
    co_return to_text(facts->body);
  }
  // Looking must not wake a sandbox that is paused.
  json one{{"id", where->id}};
  auto box = co_await v->invoke("sandbox.get", one);
  if (box.has_error()) co_return box.error();
  if (box->body.value("status", "") != "running")
    co_return fail(errc::unavailable, "not_running", "the sandbox is not running", "");
  json file{{"id", where->id}, {"path", where->path}, {"follow", true}};
  auto facts = co_await v->invoke("file.stat", file);
  if (facts.has_error() && facts.error().code == errc::not_found) co_return std::string();
  if (facts.has_error()) co_return facts.error();
  facts->body.erase("accessed_at");
  facts->body.erase("atime");
  co_return to_text(facts->body);
}

}  // namespace caged::transport_mcp
