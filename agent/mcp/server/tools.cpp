#include "mcp/server/tools.hpp"

// Texts are for a model and are paid for by every client with each list: short, and what the model cannot guess.
namespace caged::mcp {
namespace {

using when = tool_row::availability;

// Members that several schemas share.
#define CAGED_PATH "\"path\":{\"type\":\"string\",\"description\":\"relative to the workspace\"}"
#define CAGED_REPO "\"repo\":{\"type\":\"string\",\"description\":\"folder in the repository; default the workspace\"}"
#define CAGED_OBJECT(properties, required) \
  "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required "]}"
#define CAGED_OUTPUT(properties, required) \
  "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required "]}"
#define CAGED_TEXT(name) "\"" name "\":{\"type\":\"string\"}"
#define CAGED_INT(name) "\"" name "\":{\"type\":\"integer\"}"
#define CAGED_BOOL(name) "\"" name "\":{\"type\":\"boolean\"}"
#define CAGED_LIST(name) "\"" name "\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}"
#define CAGED_ID "\"id\":{\"type\":\"string\",\"description\":\"from process_start\"}"
#define CAGED_PROCESS CAGED_TEXT("id") "," CAGED_INT("pid") "," CAGED_BOOL("running") "," CAGED_TEXT("command")

const std::vector<tool_row> rows{
    {"file_read", "filesystem_read", when::always, "Read file",
     "Read a text file, or a PNG, JPEG, GIF or WebP as an image. A page has at most 40000 characters; the answer says "
     "how many lines there are and where to go on.",
     CAGED_OBJECT(
         CAGED_PATH
         ",\"offset\":{\"type\":\"integer\",\"description\":\"first line, from 1; negative: that many last lines\"},"
         "\"limit\":{\"type\":\"integer\",\"description\":\"number of "
         "lines\"},\"byte_offset\":{\"type\":\"integer\"},\"byte_limit\":{\"type\":\"integer\"},"
         "\"encoding\":{\"enum\":[\"utf-8\",\"base64\"]}",
         "\"path\""),
     CAGED_OUTPUT(CAGED_TEXT("path") "," CAGED_INT("size") "," CAGED_BOOL("truncated") "," CAGED_TEXT(
                      "content") "," CAGED_INT("next_offset"),
                  "\"path\",\"size\",\"truncated\""),
     read_only | idempotent, 60000, file_read},
    {"file_write", "filesystem_write", when::writable_only, "Write file",
     "Create a file or replace it as a whole, at once or not at all. Makes missing folders; keeps mode and owner.",
     CAGED_OBJECT(CAGED_PATH "," CAGED_TEXT("content") ",\"encoding\":{\"enum\":[\"utf-8\",\"base64\"]}",
                  "\"path\",\"content\""),
     CAGED_OUTPUT(CAGED_TEXT("path") "," CAGED_INT("bytes") "," CAGED_BOOL("created"),
                  "\"path\",\"bytes\",\"created\""),
     destructive | idempotent, 0, file_write},
    {"file_edit", "file_edit", when::writable_only, "Edit file",
     "Replace old_text by new_text. old_text must occur exactly once unless replace_all is set. Answers with a diff.",
     CAGED_OBJECT(CAGED_PATH "," CAGED_TEXT("old_text") "," CAGED_TEXT("new_text") "," CAGED_BOOL(
                      "replace_all") "," CAGED_BOOL("dry_run"),
                  "\"path\",\"old_text\",\"new_text\""),
     CAGED_OUTPUT(CAGED_TEXT("path") "," CAGED_INT("replacements") "," CAGED_BOOL("applied") "," CAGED_TEXT("diff"),
                  "\"path\",\"replacements\",\"applied\",\"diff\""),
     destructive, 60000, file_edit},
    {"file_list", "filesystem_list", when::always, "List folder",
     "List a folder: kind (d folder, - file, l symlink), size and name per line.",
     CAGED_OBJECT(
         CAGED_PATH
         ",\"depth\":{\"type\":\"integer\",\"description\":\"levels of folders, default 1\"}," CAGED_INT("limit"),
         ""),
     CAGED_OUTPUT(CAGED_TEXT("path") "," CAGED_LIST("entries") "," CAGED_BOOL("truncated"),
                  "\"path\",\"entries\",\"truncated\""),
     read_only | idempotent, 60000, file_list},
    {"file_delete", "filesystem_delete", when::writable_only, "Delete",
     "Delete a file, a symlink, or a folder with all that is in it.",
     CAGED_OBJECT(CAGED_PATH ",\"recursive\":{\"type\":\"boolean\",\"default\":true}", "\"path\""),
     CAGED_OUTPUT(CAGED_TEXT("path") "," CAGED_INT("removed"), "\"path\",\"removed\""), destructive, 0, file_delete},
    {"file_search", "filesystem_search", when::always, "Search",
     "Find files by a glob such as *.py or src/**/test_*, or, with content, lines in them. What .gitignore names is "
     "left out.",
     CAGED_OBJECT("\"pattern\":{\"type\":\"string\",\"description\":\"glob\"},\"content\":{\"type\":\"string\","
                  "\"description\":\"regular expression (RE2)\"}," CAGED_BOOL("literal") "," CAGED_BOOL(
                      "ignore_case") "," CAGED_BOOL("include_ignored") "," CAGED_PATH "," CAGED_INT("limit"),
                  "\"pattern\""),
     CAGED_OUTPUT(
         CAGED_INT("count") "," CAGED_BOOL(
             "truncated") ",\"paths\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}," CAGED_LIST("matches"),
         "\"count\",\"truncated\""),
     read_only | idempotent, 60000, file_search},
    {"terminal_exec", "terminal_exec", when::writable_only, "Run command",
     "Run a shell command in the workspace and wait for its end. Of long output head and tail are kept. For servers "
     "and anything that takes minutes use process_start.",
     CAGED_OBJECT(CAGED_TEXT("command") ",\"timeout\":{\"type\":\"integer\",\"description\":\"seconds, default 30; "
                                        "then all it started is killed\"}," CAGED_TEXT("cwd"),
                  "\"command\""),
     CAGED_OUTPUT(
         "\"exit_code\":{\"type\":[\"integer\",\"null\"]},\"signal\":{\"type\":[\"string\",\"null\"]}," CAGED_BOOL(
             "timed_out") "," CAGED_TEXT("stdout") "," CAGED_TEXT("stderr") "," CAGED_BOOL("truncated"),
         "\"exit_code\",\"signal\",\"timed_out\",\"stdout\",\"stderr\""),
     destructive | open_world, 60000, terminal_exec},
    {"process_start", "process_start", when::writable_only, "Start process",
     "Start a shell command and return its id at once. It lives until it ends, is signalled, or this server ends; its "
     "last 256 KiB of output are kept.",
     CAGED_OBJECT(CAGED_TEXT("command") "," CAGED_TEXT("cwd"), "\"command\""),
     CAGED_OUTPUT(CAGED_PROCESS, "\"id\",\"pid\",\"running\""), destructive | open_world, 0, process_start},
    {"process_read", "process_read", when::writable_only, "Read process output",
     "Output of a process from a byte offset, and whether it still runs.",
     CAGED_OBJECT(CAGED_ID "," CAGED_INT(
                      "offset") ",\"wait\":{\"type\":\"integer\",\"description\":\"seconds to wait for its end\"}",
                  "\"id\""),
     CAGED_OUTPUT(CAGED_PROCESS "," CAGED_TEXT("output") "," CAGED_INT("next_offset"),
                  "\"id\",\"running\",\"output\",\"next_offset\""),
     read_only | idempotent, 60000, process_read},
    {"process_write", "process_write", when::writable_only, "Write process input",
     "Send text to the standard input of a process.",
     CAGED_OBJECT(CAGED_ID "," CAGED_TEXT("input") ",\"close\":{\"type\":\"boolean\"}", "\"id\""),
     CAGED_OUTPUT(CAGED_TEXT("id") "," CAGED_INT("bytes"), "\"id\",\"bytes\""), destructive | open_world, 0,
     process_write},
    {"process_signal", "process_signal", when::writable_only, "Signal process",
     "Send a signal, SIGTERM by default. SIGKILL ends everything the process started.",
     CAGED_OBJECT(CAGED_ID "," CAGED_TEXT("signal"), "\"id\""),
     CAGED_OUTPUT(CAGED_TEXT("id") "," CAGED_TEXT("signal"), "\"id\",\"signal\""), destructive, 0, process_signal},
    {"process_list", "process_list", when::writable_only, "List processes",
     "Processes that were started here and are still known.", CAGED_OBJECT("", ""),
     CAGED_OUTPUT(CAGED_LIST("processes"), "\"processes\""), read_only | idempotent, 0, process_list},
    {"git_status", "git_status", when::always, "Git status", "Changed and untracked files, in git's short format.",
     CAGED_OBJECT(CAGED_REPO, ""),
     CAGED_OUTPUT(CAGED_TEXT("branch") "," CAGED_BOOL("clean") "," CAGED_LIST("entries"),
                  "\"branch\",\"clean\",\"entries\""),
     read_only | idempotent, 0, git_status},
    {"git_diff", "git_diff", when::always, "Git diff", "Changes not staged yet, or staged, or since ref.",
     CAGED_OBJECT(
         CAGED_BOOL("staged") "," CAGED_TEXT("ref") "," CAGED_TEXT("path") "," CAGED_INT("context") "," CAGED_REPO, ""),
     CAGED_OUTPUT(CAGED_TEXT("diff") "," CAGED_BOOL("truncated"), "\"diff\",\"truncated\""), read_only | idempotent,
     60000, git_diff},
    {"git_log", "git_log", when::always, "Git log", "The latest commits.",
     CAGED_OBJECT("\"count\":{\"type\":\"integer\",\"description\":\"default 10\"}," CAGED_TEXT("ref") "," CAGED_TEXT(
                      "path") "," CAGED_REPO,
                  ""),
     CAGED_OUTPUT(CAGED_LIST("commits"), "\"commits\""), read_only | idempotent, 0, git_log},
    {"git_commit", "git_commit", when::writable_only, "Git commit",
     "Stage all changes, or those of paths, and commit. Hooks do not run.",
     CAGED_OBJECT(CAGED_TEXT("message") ",\"paths\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}," CAGED_REPO,
                  "\"message\""),
     CAGED_OUTPUT(CAGED_TEXT("commit") "," CAGED_TEXT("summary"), "\"commit\""), no_hints, 0, git_commit},
    {"git_show", "git_show", when::writable_only, "Git show", "A commit with its changes.",
     CAGED_OBJECT(CAGED_TEXT("ref") "," CAGED_TEXT("path") "," CAGED_REPO, ""),
     CAGED_OUTPUT(CAGED_TEXT("content") "," CAGED_BOOL("truncated"), "\"content\",\"truncated\""),
     read_only | idempotent, 60000, git_show},
    {"git_branch", "git_branch", when::writable_only, "Git branches",
     "List branches; with create, make one first (at ref, without switching to it).",
     CAGED_OBJECT(CAGED_TEXT("create") "," CAGED_TEXT("ref") "," CAGED_REPO, ""),
     CAGED_OUTPUT(CAGED_LIST("branches"), "\"branches\""), no_hints, 0, git_branch},
};

}  // namespace

const std::vector<tool_row>& tool_rows() { return rows; }

}  // namespace caged::mcp
