// Files of a sandbox. Every path is resolved inside the box, by the agent; the host never opens one.
#include <caged/base64.hpp>

#include "core/base/time.hpp"
#include "core/operation/conversation.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/exec.hpp"

namespace caged::operation {
namespace {

using namespace schema;

json entry_schema() {
  json s = output({{"name", text("Last part of the path.")},
                   {"path", text("Path inside.")},
                   {"type", text("file, directory, symlink, fifo, socket or device.")},
                   {"size", count("Bytes.")},
                   {"mod_time", text("RFC 3339, UTC.")},
                   {"mode", text("Octal, as in \"0644\".")},
                   {"permissions", text("As ls shows them.")},
                   {"owner", text("Name of the user inside.")},
                   {"group", text("Name of the group inside.")},
                   {"symlink_target", text("Of a symbolic link.")}});
  s["required"] = {"name", "path", "type", "size", "mod_time", "mode"};
  return s;
}

// An entry as the agent tells it, as the API shows it.
json shown_entry(json entry) {
  char octal[8];
  std::snprintf(octal, sizeof octal, "%04o", static_cast<unsigned>(entry.value("mode", 0)) & 07777);
  entry["mode"] = octal;
  entry["mod_time"] = base::format_time(entry.value("mod_time_unix_ms", std::int64_t{0}) * 1000);
  entry.erase("mod_time_unix_ms");
  return entry;
}

// The arguments without the sandbox's id, as the agent takes them.
json rest_of(const json& arguments) {
  json rest = arguments;
  rest.erase("id");
  return rest;
}

// "0644", "644" or 420 as the number the agent takes.
result<void> read_mode(json& arguments) {
  const auto mode = arguments.find("mode");
  if (mode == arguments.end() || mode->is_number()) return {};
  const auto& digits = mode->get_ref<const std::string&>();
  if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("01234567") != std::string::npos)
    return fail(errc::invalid_argument, "bad_mode", "mode \"" + digits + "\" is not octal", "Write it as in \"0644\".",
                "/mode");
  arguments["mode"] = std::stoi(digits, nullptr, 8);
  return {};
}

task<json> ask(services* s, std::string id, std::string agent_operation, json arguments) {
  if (auto ok = read_mode(arguments); !ok) co_return ok.error();
  auto at = co_await reach(s, std::move(id));
  if (!at) co_return at.error();
  auto agent = at->agent;
  co_return co_await agent->request(std::move(agent_operation), std::move(arguments));
}

template <std::size_t N>
struct fixed {
  constexpr fixed(const char (&text)[N]) { std::copy_n(text, N, value); }
  char value[N];
};

// An operation that is one request to the agent: the answer is the agent's, or nothing for a 204.
template <fixed Operation>
task<reply> pass(services* s, call c) {
  auto done = co_await ask(s, c.arguments["id"].get<std::string>(), Operation.value, rest_of(c.arguments));
  if (!done) co_return done.error();
  co_return answer(std::move(*done));
}

task<reply> stat_entry(services* s, call c) {
  auto done = co_await ask(s, c.arguments["id"].get<std::string>(), "file.stat", rest_of(c.arguments));
  if (!done) co_return done.error();
  co_return answer(shown_entry(std::move(*done)));
}

// An operation that changes one file and answers with what is there now, at the path that `Field` names.
template <fixed Operation, fixed Field>
task<reply> change(services* s, call c) {
  const std::string id = c.arguments["id"].get<std::string>();
  auto done = co_await ask(s, id, Operation.value, rest_of(c.arguments));
  if (!done) co_return done.error();
  json about{{"path", c.arguments[Field.value]}};
  auto entry = co_await ask(s, id, "file.stat", std::move(about));
  if (!entry) co_return entry.error();
  co_return answer(shown_entry(std::move(*entry)));
}

task<reply> glob(services* s, call c) {
  auto done = co_await ask(s, c.arguments["id"].get<std::string>(), "file.glob", rest_of(c.arguments));
  if (!done) co_return done.error();
  json matches = std::move((*done)["paths"]);
  co_return answer({{"matches", std::move(matches)}, {"truncated", done->value("truncated", false)}});
}

task<reply> list_folder(services* s, call c) {
  json arguments = rest_of(c.arguments);
  if (!arguments.contains("path")) arguments["path"] = "/workspace";
  auto done = co_await ask(s, c.arguments["id"].get<std::string>(), "file.list", std::move(arguments));
  if (!done) co_return done.error();
  json rows = json::array();
  for (auto& entry : (*done)["entries"]) rows.push_back(shown_entry(std::move(entry)));
  reply r = answer(std::move(rows));
  if (done->value("truncated", false)) r.headers.emplace_back("X-Truncated", "true");
  co_return r;
}

struct range {
  bool given = false, from_end = false;
  std::uint64_t first = 0, last = UINT64_MAX;  // from_end: `first` is the length of the tail
};

// "bytes=a-b", "bytes=a-", "bytes=-n"; anything else (several ranges too) is ignored, as RFC 9110 allows.
range parse_range(const std::string& text) {
  range r;
  if (!text.starts_with("bytes=")) return r;
  const std::string spec = text.substr(6);
  const auto dash = spec.find('-');
  if (dash == std::string::npos || spec.find_first_not_of("0123456789-") != std::string::npos ||
      spec.find('-', dash + 1) != std::string::npos || spec.size() > 40 || spec == "-")
    return r;
  const std::string a = spec.substr(0, dash), b = spec.substr(dash + 1);
  if (a.size() > 18 || b.size() > 18) return r;
  r.given = true;
  if (a.empty()) {
    r.from_end = true;
    r.first = std::stoull(b);
  } else {
    r.first = std::stoull(a);
    if (!b.empty()) r.last = std::stoull(b);
    if (r.last < r.first) r.given = false;
  }
  return r;
}

// Holds the first piece back so that the media type can be told from it.
class peeked_source : public byte_source {
 public:
  peeked_source(std::string first, std::shared_ptr<byte_source> rest, std::shared_ptr<sandbox::activity> busy)
      : first_(std::move(first)), rest_(std::move(rest)), busy_(std::move(busy)) {}
  task<std::string> read() override {
    if (!first_.empty()) co_return std::exchange(first_, {});
    co_return co_await rest_->read();
  }

 private:
  std::string first_;
  std::shared_ptr<byte_source> rest_;
  std::shared_ptr<sandbox::activity> busy_;
};

task<reply> read_file(services* s, call c) {
  const std::string path = c.arguments["path"].get<std::string>();
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  const range wanted = parse_range(c.arguments.value("range", ""));
  json arguments{{"path", path}};
  std::uint64_t total = 0, first = 0, length = 0;
  if (wanted.given) {
    json about{{"path", path}, {"follow", true}};
    auto stat = co_await at->agent->request("file.stat", std::move(about));
    if (!stat) co_return stat.error();
    total = stat->value("size", std::uint64_t{0});
    first = wanted.from_end ? total - std::min(total, wanted.first) : wanted.first;
    const bool none = first >= total || (wanted.from_end && wanted.first == 0);
    if (none) {
      reply unsatisfied = answer(nullptr);
      unsatisfied.status = 416;
      unsatisfied.headers.emplace_back("Content-Range", "bytes */" + std::to_string(total));
      co_return unsatisfied;
    }
    length = (wanted.from_end ? total - 1 : std::min(wanted.last, total - 1)) - first + 1;
    arguments["offset"] = first;
    arguments["length"] = length;
  }
  auto opened = co_await at->agent->read_file(std::move(arguments));
  if (!opened) co_return opened.error();
  auto piece = co_await opened->bytes->read();
  if (!piece) co_return piece.error();
  reply r;
  // A piece may end inside a character: only whether it holds a NUL is asked, as git does.
  r.media_type = piece->find('\0') == std::string::npos ? "text/plain; charset=utf-8" : "application/octet-stream";
  if (r.media_type[0] == 't' &&
      !sandbox::is_utf8(std::string_view(*piece).substr(0, piece->size() > 4 ? piece->size() - 3 : piece->size())))
    r.media_type = sandbox::is_utf8(*piece) ? r.media_type : "application/octet-stream";
  r.bytes = std::make_shared<peeked_source>(std::move(*piece), opened->bytes, at->busy);
  if (wanted.given) {
    r.status = 206;
    r.headers.emplace_back("Content-Range", "bytes " + std::to_string(first) + "-" +
                                                std::to_string(first + length - 1) + "/" + std::to_string(total));
    r.headers.emplace_back("Content-Length", std::to_string(length));
  } else if (opened->head.contains("size")) {
    r.headers.emplace_back("Content-Length", std::to_string(opened->head["size"].get<std::uint64_t>()));
  }
  r.headers.emplace_back("Accept-Ranges", "bytes");
  co_return r;
}

task<reply> write_file(services* s, call c) {
  auto bytes = c.body;
  if (c.arguments.contains("content") && c.arguments.contains("content_base64"))
    co_return fail(errc::invalid_argument, "content_twice", "both content and content_base64 are given",
                   "Give one of them.", "/content_base64");
  if (c.arguments.contains("content")) bytes = source_of(c.arguments["content"].get<std::string>());
  if (c.arguments.contains("content_base64")) {
    auto decoded = base64_decode(c.arguments["content_base64"].get<std::string>());
    if (!decoded)
      co_return fail(errc::invalid_argument, "bad_base64", "content_base64 is not base64",
                     "Encode the bytes as base64.", "/content_base64");
    bytes = source_of(std::move(*decoded));
  }
  if (!bytes)
    co_return fail(errc::invalid_argument, "content_missing", "there is neither a body nor content",
                   "Send the bytes as the body, or JSON with \"content\".", "/content");
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  json arguments{
      {"path", c.arguments["path"]}, {"create_parents", true}, {"append", c.arguments.value("append", false)}};
  if (c.arguments.contains("mode")) arguments["mode"] = c.arguments["mode"];
  if (auto ok = read_mode(arguments); !ok) co_return ok.error();
  auto done = co_await at->agent->write_file(std::move(arguments), bytes);
  if (!done) co_return done.error();
  co_return answer({{"status", "ok"}, {"path", c.arguments["path"]}, {"size", done->value("size", json(nullptr))}});
}

task<reply> remove(services* s, call c) {
  json arguments = rest_of(c.arguments);
  if (!arguments.contains("recursive")) arguments["recursive"] = false;
  auto done = co_await ask(s, c.arguments["id"].get<std::string>(), "file.remove", std::move(arguments));
  if (!done) co_return done.error();
  co_return reply{};
}

class held_items : public item_source {
 public:
  held_items(std::shared_ptr<item_source> inner, std::shared_ptr<sandbox::activity> busy)
      : inner_(std::move(inner)), busy_(std::move(busy)) {}
  task<std::optional<stream_item>> next() override { return inner_->next(); }

 private:
  std::shared_ptr<item_source> inner_;
  std::shared_ptr<sandbox::activity> busy_;
};

task<reply> watch(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  json arguments = rest_of(c.arguments);
  if (!arguments.contains("path")) arguments["path"] = "/workspace";
  auto items = co_await at->agent->watch(std::move(arguments));
  if (!items) co_return items.error();
  reply r;
  r.items = std::make_shared<held_items>(*items, at->busy);
  co_return r;
}

json mode_schema() {
  return {{"type", {"string", "integer"}}, {"description", "Octal text as in \"0644\", or the number."}};
}

}  // namespace

void add_file_operations(services& s) {
  const json path{{"type", "string"},
                  {"description", "Path inside; relative ones start in /workspace."},
                  {"minLength", 1},
                  {"maxLength", 4096}};
  const json id = sandbox_id();
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };
  const std::string base = "/v1/sandboxes/{id}/files";

  own(declare("file.list", "GET", base, scope::read, "List a folder of a sandbox",
              input({{"id", id},
                     {"path", path},
                     {"depth", integer("Levels; 1 by default.", 1, 64)},
                     {"limit", integer("Entries at most.", 1, 100000)}},
                    {"id"}),
              list(entry_schema())),
      "", list_folder);
  own(declare("file.stat", "GET", base + "/stat", scope::read, "One file's or folder's facts",
              input({{"id", id}, {"path", path}, {"follow", flag("Of what a link points to.")}}, {"id", "path"}),
              entry_schema()),
      "", stat_entry);

  auto info =
      declare("file.read", "GET", base + "/content", scope::read, "Read a file",
              input({{"id", id}, {"path", path}, {"range", text("As the Range header: bytes=0-99.")}}, {"id", "path"}),
              {{"type", "string"}});
  info.description = "The file's bytes, of any size, streamed. The Range header is honoured.";
  info.gives = payload::bytes;
  own(std::move(info), "", read_file);

  info = declare("file.write", "PUT", base + "/content", scope::sandbox, "Write a file",
                 input({{"id", id},
                        {"path", path},
                        {"mode", mode_schema()},
                        {"append", flag("Add to the end.")},
                        {"content", text("Text.")},
                        {"content_base64", text("Bytes.")}},
                       {"id", "path"}),
                 output({{"status", text("ok")}, {"path", text("Path.")}, {"size", count("Bytes.")}}));
  info.description =
      "Replaces the file in one step (or appends); parents are made. Body: JSON with `content` or `content_base64` "
      "(application/json), or the bytes as they are (any other type), of any size.";
  info.takes = payload::bytes;
  info.idempotent = true;
  info.destructive = true;
  own(std::move(info), "file_op", write_file);

  info =
      declare("file.remove", "DELETE", base, scope::sandbox, "Remove a file or folder",
              input({{"id", id}, {"path", path}, {"recursive", flag("A folder with what is in it.")}}, {"id", "path"}),
              nothing());
  info.success = 204;
  info.destructive = true;
  own(std::move(info), "file_op", remove);
  own(declare("file.mkdir", "POST", base + "/mkdir", scope::sandbox, "Make a folder",
              input({{"id", id},
                     {"path", path},
                     {"parents", flag("Make parents; an existing folder is fine.")},
                     {"mode", mode_schema()}},
                    {"id", "path"}),
              entry_schema()),
      "file_op", change<"file.mkdir", "path">);
  info = declare("file.move", "POST", base + "/move", scope::sandbox, "Move or rename",
                 input({{"id", id}, {"from", path}, {"to", path}, {"overwrite", flag("Replace what is there.")}},
                       {"id", "from", "to"}),
                 entry_schema());
  info.destructive = true;
  own(std::move(info), "file_op", change<"file.move", "to">);
  own(declare("file.copy", "POST", base + "/copy", scope::sandbox, "Copy a file, or a folder with what is in it",
              input({{"id", id}, {"from", path}, {"to", path}, {"overwrite", flag("Replace what is there.")}},
                    {"id", "from", "to"}),
              entry_schema()),
      "file_op", change<"file.copy", "to">);
  own(declare("file.chmod", "POST", base + "/chmod", scope::sandbox, "Change a mode",
              input({{"id", id}, {"path", path}, {"mode", mode_schema()}}, {"id", "path", "mode"}), entry_schema()),
      "file_op", change<"file.chmod", "path">);
  own(declare("file.symlink", "POST", base + "/symlink", scope::sandbox, "Make a symbolic link",
              input({{"id", id}, {"target", text("What it points to.")}, {"path", path}}, {"id", "target", "path"}),
              entry_schema()),
      "file_op", change<"file.symlink", "path">);

  const json truncated = flag("There is more; narrow the pattern or raise `limit`.");
  const json names =
      list(output({{"path", text("Relative to the folder searched.")}, {"type", text("file, directory, …")}}));
  const json lines = list(output({{"path", text("Relative to the folder searched.")},
                                  {"line", count("From 1.")},
                                  {"column", count("From 1, in bytes.")},
                                  {"text", text("The line, cut around the match when it is long.")},
                                  {"before", list(text("Line."), "Lines before it.")},
                                  {"after", list(text("Line."), "Lines after it.")}}));
  info = declare("file.glob", "POST", base + "/glob", scope::read, "Find files by name",
                 input({{"id", id},
                        {"pattern", text("As in src/**/*.cpp.")},
                        {"path", path},
                        {"respect_gitignore", flag("Leave out what .gitignore names; false by default.")},
                        {"limit", integer("Matches at most.", 1, 10000)}},
                       {"id", "pattern"}),
                 output({{"matches", names}, {"truncated", truncated}}));
  own(std::move(info), "", glob);
  info = declare("file.search", "POST", base + "/search", scope::read, "Find text in files",
                 input({{"id", id},
                        {"pattern", text("Regular expression, RE2 syntax.")},
                        {"path", path},
                        {"glob", text("Only in files whose path matches.")},
                        {"literal", flag("The pattern is the text itself.")},
                        {"respect_gitignore", flag("Leave out what .gitignore names; true by default.")},
                        {"ignore_case", flag("Upper and lower alike.")},
                        {"limit", integer("Matches at most.", 1, 10000)},
                        {"context", integer("Lines around each.", 0, 20)}},
                       {"id", "pattern"}),
                 output({{"matches", lines}, {"truncated", truncated}}));
  own(std::move(info), "", pass<"file.search">);
  info = declare("file.watch", "GET", base + "/watch", scope::read, "Changes of files as they happen",
                 input({{"id", id}, {"path", path}, {"recursive", flag("Below it, too; true by default.")}}, {"id"}),
                 {{"type", "object"}});
  info.gives = payload::items;
  own(std::move(info), "", watch);
}

}  // namespace caged::operation
