// caged completion: scripts for bash, zsh and fish, made from the declared commands.
#include <core/cli/commands.hpp>

namespace caged::cli {
namespace {

struct level {
  std::string path;                                            // "keys create"
  std::vector<std::pair<std::string, std::string>> commands;   // name, summary
  std::vector<std::pair<std::string, std::string>> flags;      // "--scope", help
};

void collect(const CLI::App& at, const std::string& path, std::vector<level>& out) {
  level here{path, {}, {}};
  const auto below = at.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : below) {
    here.commands.emplace_back(sub->get_name(), sub->get_description());
    for (const auto& alias : sub->get_aliases()) here.commands.emplace_back(alias, sub->get_description());
  }
  for (const CLI::Option* option : at.get_options()) {
    for (const auto& name : option->get_lnames()) here.flags.emplace_back("--" + name, option->get_description());
    for (const auto& name : option->get_snames()) here.flags.emplace_back("-" + name, option->get_description());
  }
  out.push_back(std::move(here));
  for (const CLI::App* sub : below) {
    std::vector<std::string> names = sub->get_aliases();
    names.insert(names.begin(), sub->get_name());
    for (const auto& name : names) collect(*sub, path.empty() ? name : path + " " + name, out);
  }
}

std::string words(const level& l) {
  std::string out;
  for (const auto& [name, help] : l.commands) out += name + " ";
  for (const auto& [name, help] : l.flags) out += name + " ";
  return out;
}

// Inside '…' of a shell; fish and the others differ only in how a quote is written.
std::string quoted(const std::string& text, const char* quote) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += quote;
    else if (c == '\\' && std::string_view(quote) == "\\'")
      out += "\\\\";
    else if (c != '\n')
      out += c;
  }
  return out + "'";
}

// The words typed so far, options left out, are looked up; the deepest known path wins.
std::string case_table(const std::vector<level>& levels) {
  std::string out;
  for (const level& l : levels) {
    if (!l.path.empty()) out += "    '" + l.path + "') candidates='" + words(l) + "';;\n";
  }
  return out;
}

std::string bash_script(const std::vector<level>& levels) {
  return "# bash completion of caged; load it with: source <(caged completion bash)\n"
         "_caged() {\n"
         "  local word path='' try candidates='" +
         words(levels.front()) +
         "'\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case \"$word\" in --) COMPREPLY=(); return;; -*) continue;; esac\n"
         "    try=\"${path:+$path }$word\"\n"
         "    case \"$try\" in\n" +
         case_table(levels) +
         "    *) continue;;\n"
         "    esac\n"
         "    path=\"$try\"\n"
         "  done\n"
         "  COMPREPLY=($(compgen -W \"$candidates\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -o default -F _caged caged\n";
}

std::string zsh_script(const std::vector<level>& levels) {
  return "#compdef caged\n"
         "# zsh completion of caged; load it with: source <(caged completion zsh)\n"
         "_caged() {\n"
         "  local word path='' try candidates='" +
         words(levels.front()) +
         "'\n"
         "  for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
         "    case \"$word\" in --) return;; -*) continue;; esac\n"
         "    try=\"${path:+$path }$word\"\n"
         "    case \"$try\" in\n" +
         case_table(levels) +
         "    *) continue;;\n"
         "    esac\n"
         "    path=\"$try\"\n"
         "  done\n"
         "  compadd -- ${=candidates}\n"
         "  _files\n"
         "}\n"
         "compdef _caged caged\n";
}

std::string fish_script(const std::vector<level>& levels) {
  std::string out = "# fish completion of caged; load it with: caged completion fish | source\n";
  for (const level& l : levels) {
    std::string when = "'__fish_use_subcommand'";
    if (!l.path.empty()) {
      when = "'";
      std::string word;
      for (const char c : l.path + " ") {
        if (c != ' ') {
          word += c;
          continue;
        }
        when += (when.size() > 1 ? "; and " : "") + std::string("__fish_seen_subcommand_from ") + word;
        word.clear();
      }
      when += "'";
    }
    for (const auto& [name, help] : l.commands) {
      out += "complete -c caged -n " + when + " -a " + name + " -d " + quoted(help, "\\'") + "\n";
    }
    for (const auto& [name, help] : l.flags) {
      const bool lengthy = name.rfind("--", 0) == 0;
      out += "complete -c caged -n " + when + (lengthy ? " -l " + name.substr(2) : " -s " + name.substr(1)) + " -d " +
             quoted(help, "\\'") + "\n";
    }
  }
  return out;
}

}  // namespace

result<std::string> completion_script(const CLI::App& root, std::string_view shell) {
  std::vector<level> levels;
  collect(root, "", levels);
  if (shell == "bash") return bash_script(levels);
  if (shell == "zsh") return zsh_script(levels);
  if (shell == "fish") return fish_script(levels);
  return fail(errc::invalid_argument, "unknown_shell",
              "found the shell '" + std::string(shell) + "', expected bash, zsh or fish",
              "Run 'caged completion bash'.");
}

void add_completion_command(CLI::App& root, const command_set& set) {
  auto shell = std::make_shared<std::string>();
  CLI::App* top = &root;
  set.add(root, "completion", "Print a completion script for bash, zsh or fish",
          "  source <(caged completion bash)\n  caged completion fish | source",
          [shell, top](session& s) -> result<int> {
            auto script = completion_script(*top, *shell);
            if (!script) return script.error();
            s.print(*script);
            return 0;
          })
      ->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required();
}

}  // namespace caged::cli
