// The git_* tools: git as a program, with everything off by which a repository could make it run another.
#include <algorithm>

#include "git/repository.hpp"
#include "mcp/server/runner.hpp"
#include "mcp/server/tools.hpp"

namespace caged::mcp {
namespace {

using wire::failed;
using overrides = std::vector<std::pair<std::string, std::string>>;
using next_step = std::function<void(run_outcome&)>;

constexpr int git_seconds = 60;

struct repository {
  workspace& w;
  call_ptr call;
  agent::git_repository where;
  overrides settings;
};
using repository_ptr = std::shared_ptr<repository>;

std::string git_error(run_outcome& o) {
  const std::string text = o.error.text();
  if (o.exit.at("timed_out").get<bool>())
    return "git took longer than " + std::to_string(git_seconds) + " s and was ended";
  std::string message = "git failed: " + std::string(clip(text.empty() ? o.out.text() : text, 4000));
  if (text.find("tell me who you are") != std::string::npos || text.find("empty ident") != std::string::npos)
    message += "\nSet user.name and user.email in git's configuration first.";
  return message;
}

void git(const repository_ptr& r, std::vector<std::string> argv, next_step then) {
  argv.insert(argv.begin(), {"git", "--no-optional-locks", "--literal-pathspecs"});
  json env = json::object();
  for (const auto& [name, value] : agent::environment_of(r->where, r->settings)) env[name] = value;
  // A home inside the workspace would make the user's settings the client's.
  if (r->w.home_is_inside()) env["GIT_CONFIG_GLOBAL"] = "/dev/null";
  const json what{{"argv", argv}, {"cwd", r->where.work_tree}, {"env", env}, {"timeout_ms", git_seconds * 1000}};
  run_program(r->w, r->call, what, page_bytes, [r, then = std::move(then)](run_outcome& o) {
    if (o.exit.at("exit_code") != 0) return r->call->fail(git_error(o));
    then(o);
  });
}

// Filters of the repository's own configuration are emptied; those of the system and of the user are theirs to trust.
void disarm(const repository_ptr& r, std::function<void()> then) {
  if (r->where.suspicious.empty()) return then();
  git(r, {"config", "--show-scope", "--name-only", "--list"}, [r, then = std::move(then)](run_outcome& o) {
    const std::string text = o.out.text();
    // A name that is not shown as it is could not be overridden either.
    if (o.out.cut() || text.size() != o.out.total())
      return r->call->fail("the repository's configuration is too big, or has control characters; git was not run");
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size()), tab = std::min(text.find('\t', at), end);
      const std::string scope = text.substr(at, tab - at),
                        name = text.substr(std::min(tab + 1, end), end - std::min(tab + 1, end));
      at = end + 1;
      if (scope == "system" || scope == "global" || scope == "command" || name.rfind("filter.", 0) != 0) continue;
      const std::size_t dot = name.rfind('.');
      const std::string key = name.substr(dot + 1);
      if (key == "clean" || key == "smudge" || key == "process") r->settings.emplace_back(name, "");
      r->settings.emplace_back(name.substr(0, dot) + ".required", "false");
    }
    then();
  });
}

// A name of something in the repository, which git must not take for an option.
std::string revision_name(const agent::arguments& args, const char* name, std::string otherwise) {
  std::string value = args.text(name, std::move(otherwise));
  bool strange = value.empty() || value[0] == '-' || value.size() > 1000;
  for (const char c : value) strange = strange || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  if (strange)
    throw agent::bad_argument("/" + std::string(name), std::string(name) + " is not the name of a commit or branch");
  return value;
}

void add_path(std::vector<std::string>& argv, const agent::arguments& args) {
  argv.emplace_back("--");
  if (args.has("path")) argv.push_back(args.path("path"));
}

const std::vector<std::string> no_programs{"--no-ext-diff", "--no-textconv", "--no-color"};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

tool_result text_result(const workspace& w, run_outcome& o, const char* name, const char* empty) {
  tool_result r;
  // A server that only reads has no processes to ask for the rest.
  const auto pages = [](const tool_info& tool) { return tool.name == "process_read"; };
  const bool paged = std::any_of(w.tools().begin(), w.tools().end(), pages);
  r.text = o.out.text();
  r.structured = {{name, r.text}, {"bytes", o.out.total()}, {"truncated", o.out.cut()}};
  if (o.out.cut()) {
    r.text += "\n[cut: " + std::to_string(o.out.total()) + " bytes in all; name a path to see less" +
              (paged ? ", or read all in pages: process_read with id " + o.id + "]" : "]");
    if (paged) r.structured["id"] = o.id;
  }
  if (r.text.empty()) r.text = empty;
  return r;
}

void with_repository(workspace& w, const call_ptr& call, std::function<void(const repository_ptr&)> then) {
  const agent::arguments args(call->arguments());
  const auto r = std::make_shared<repository>(
      repository{w, call, agent::find_repository(w.files(), args.path("repo", ".")), {{"protocol.allow", "never"}}});
  disarm(r, [r, then = std::move(then)] { then(r); });
}

}  // namespace

void git_status(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    git(r, {"status", "--porcelain=v1", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty"},
        [r](run_outcome& o) {
          tool_result result;
          json entries = json::array();
          std::string branch;
          for (const std::string& line : lines_of(o.out.text())) {
            if (line.rfind("## ", 0) == 0) {
              branch = line.substr(3);
              continue;
            }
            result.text += line + "\n";
            if (line.size() > 3) entries.push_back({{"status", line.substr(0, 2)}, {"path", line.substr(3)}});
          }
          if (result.text.empty()) result.text = "nothing to commit, working tree clean";
          result.structured = {{"branch", branch}, {"clean", entries.empty()}, {"truncated", o.out.cut()}};
          result.structured["entries"] = std::move(entries);
          r->call->answer(std::move(result));
        });
  });
}

void git_diff(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    const agent::arguments args(r->call->arguments());
    std::vector<std::string> argv{"diff", "--ignore-submodules=dirty",
                                  "--unified=" + std::to_string(args.number("context", 0, 1000, 3))};
    argv.insert(argv.end(), no_programs.begin(), no_programs.end());
    if (args.flag("staged", false)) argv.emplace_back("--cached");
    if (args.has("ref")) argv.insert(argv.end(), {"--end-of-options", revision_name(args, "ref", "")});
    add_path(argv, args);
    git(r, std::move(argv), [r](run_outcome& o) { r->call->answer(text_result(r->w, o, "diff", "no differences")); });
  });
}

void git_log(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    const agent::arguments args(r->call->arguments());
    std::vector<std::string> argv{"log", "--max-count=" + std::to_string(args.number("count", 1, 200, 10)),
                                  "--format=%H%x09%h%x09%aI%x09%an%x09%s", "--no-show-signature"};
    argv.insert(argv.end(), {"--end-of-options", revision_name(args, "ref", "HEAD")});
    add_path(argv, args);
    git(r, std::move(argv), [r](run_outcome& o) {
      tool_result result;
      json commits = json::array();
      for (const std::string& line : lines_of(o.out.text())) {
        std::vector<std::string> fields;
        std::size_t at = 0;
        for (int i = 0; i < 4; ++i) {
          const std::size_t tab = std::min(line.find('\t', at), line.size());
          fields.push_back(line.substr(at, tab - at));
          at = std::min(tab + 1, line.size());
        }
        const std::string subject = line.substr(at);
        result.text += fields[1] + " " + subject + "\n";
        commits.push_back({{"hash", fields[0]}, {"date", fields[2]}, {"author", fields[3]}, {"subject", subject}});
      }
      if (result.text.empty()) result.text = "no commits";
      result.structured = json::object();
      result.structured["commits"] = std::move(commits);
      r->call->answer(std::move(result));
    });
  });
}

void git_commit(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    const agent::arguments args(r->call->arguments());
    const std::string message = args.text("message");
    if (message.find_first_not_of(" \t\r\n") == std::string::npos)
      throw agent::bad_argument("/message", "the message is blank");
    std::vector<std::string> add{"add", "--all", "--"};
    for (const std::string& path : args.texts("paths")) add.push_back(path);
    git(r, std::move(add), [r, message](run_outcome&) {
      git(r, {"commit", "--quiet", "--no-verify", "--no-gpg-sign", "--no-status", "--message=" + message},
          [r](run_outcome&) {
            git(r, {"log", "-1", "--format=%H%x09%h%x09%s", "--shortstat", "--no-show-signature"}, [r](run_outcome& o) {
              const auto lines = lines_of(o.out.text());
              const std::string head = lines.empty() ? "" : lines[0];
              const std::size_t first = std::min(head.find('\t'), head.size()),
                                second = std::min(head.find('\t', first + 1), head.size());
              tool_result result;
              result.structured = {{"commit", head.substr(0, first)}, {"summary", lines.empty() ? "" : lines.back()}};
              result.text =
                  "committed " + head.substr(std::min(first + 1, head.size()), second - std::min(first + 1, second)) +
                  " " + head.substr(std::min(second + 1, head.size())) + "\n" + (lines.size() > 1 ? lines.back() : "");
              r->call->answer(std::move(result));
            });
          });
    });
  });
}

void git_show(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    const agent::arguments args(r->call->arguments());
    std::vector<std::string> argv{"show", "--no-show-signature", "--stat", "--patch"};
    argv.insert(argv.end(), no_programs.begin(), no_programs.end());
    argv.insert(argv.end(), {"--end-of-options", revision_name(args, "ref", "HEAD")});
    add_path(argv, args);
    git(r, std::move(argv), [r](run_outcome& o) { r->call->answer(text_result(r->w, o, "content", "nothing to show")); });
  });
}

void git_branch(workspace& w, const call_ptr& call) {
  with_repository(w, call, [](const repository_ptr& r) {
    const agent::arguments args(r->call->arguments());
    const auto list = [r](run_outcome&) {
      git(r,
          {"branch", "--list", "--no-color",
           "--format=%(if)%(HEAD)%(then)*%(else)-%(end)%09%(refname:short)%09%(objectname:short)"},
          [r](run_outcome& o) {
            tool_result result;
            json branches = json::array();
            for (const std::string& line : lines_of(o.out.text())) {
              const std::size_t tab = std::min(line.find('\t', 2), line.size());
              if (line.size() < 3) continue;
              const std::string name = line.substr(2, tab - 2);
              result.text += std::string(line[0] == '*' ? "* " : "  ") + name + "\n";
              branches.push_back({{"name", name},
                                  {"current", line[0] == '*'},
                                  {"commit", tab < line.size() ? line.substr(tab + 1) : ""}});
            }
            if (result.text.empty()) result.text = "no branches yet";
            result.structured = json::object();
            result.structured["branches"] = std::move(branches);
            r->call->answer(std::move(result));
          });
    };
    if (!args.has("create")) {
      run_outcome nothing;
      return list(nothing);
    }
    git(r,
        {"branch", "--no-track", "--end-of-options", revision_name(args, "create", ""),
         revision_name(args, "ref", "HEAD")},
        list);
  });
}

}  // namespace caged::mcp
