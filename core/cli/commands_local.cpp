// caged serve, version, login, config: what needs no server that runs.
#include <core/base/version.hpp>
#include <core/cli/commands.hpp>
#include <core/cli/server.hpp>
#include <core/config/client_config.hpp>
#include <core/config/sandbox_file.hpp>
#include <core/config/yaml.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

struct serve_flags {
  std::string listen, data, config, log_level;
  std::vector<std::string> plugin_dirs, accept_missing;
};

result<int> perform_serve(session& s, const serve_flags& f, const serve_function& serve) {
  auto host = config::load_host_config(f.config, s.env());
  if (!host) return host.error();
  std::error_code failed;
  const auto whole = [&failed](const std::string& path) { return fs::absolute(path, failed).lexically_normal(); };
  if (!f.listen.empty()) {
    auto checked = config::check_listen_address(f.listen);
    if (!checked)
      return fail(errc::invalid_argument, "invalid_address", "--listen: " + checked.error().message,
                  checked.error().action);
    host->listen = f.listen;
  }
  if (!f.data.empty()) host->data = whole(f.data);
  if (!f.log_level.empty()) host->log_level = f.log_level;
  if (!f.plugin_dirs.empty()) {
    host->plugin_dirs.clear();
    for (const auto& dir : f.plugin_dirs) host->plugin_dirs.push_back(whole(dir));
  }
  for (const auto& wall : f.accept_missing) host->accept_missing.push_back(wall);
  serve_options options;
  options.host = std::move(*host);
  options.program = s.program();
  if (!serve)
    return fail(errc::unsupported, "no_server", "this build of caged holds no server", "Install the full package.");
  return serve(options);
}

result<int> perform_version(session& s) {
  json out = {{"version", std::string(base::version())}};
  // The server's version when one is near; no server is no failure here.
  if (auto client = s.connect()) {
    if (auto host = client->call("GET", "/v1/capabilities", nullptr, std::chrono::seconds(3))) {
      out["server"] = {{"url", client->base_url()}, {"version", host->value("version", json())}};
    }
  }
  if (s.machine()) {
    s.print_document(out);
    return 0;
  }
  s.print("caged " + std::string(base::version()) + "\n");
  if (out.contains("server")) {
    s.print("server " + printable(field(out["server"], "version")) + " at " + printable(field(out["server"], "url")) +
            "\n");
  }
  return 0;
}

// Asks on the terminal; the key is not echoed.
result<std::string> ask(const std::string& question) {
  if (::isatty(STDIN_FILENO) == 1) write_all(STDERR_FILENO, question);
  std::string line;
  char c = 0;
  while (::read(STDIN_FILENO, &c, 1) == 1 && c != '\n') {
    if (line.size() < 4096) line += c;
  }
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) line.pop_back();
  if (line.empty()) {
    return fail(errc::invalid_argument, "no_answer", "nothing was given",
                "Run 'caged login --api-url URL' and type the key.");
  }
  return line;
}

result<std::string> ask_secret(const std::string& question) {
  termios before{};
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    termios silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  auto answer = ask(question);
  if (terminal) {
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    write_all(STDERR_FILENO, "\n");
  }
  return answer;
}

result<void> write_login(const fs::path& folder, const json& content) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return errno_error(failed.value(), "make " + folder.string());
  const std::string part = (folder / ("config.json.part." + std::to_string(::getpid()))).string();
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno_error(errno, "write " + part);
  const bool written = write_all(fd, content.dump(2) + "\n") && ::fsync(fd) == 0;
  const int why = errno;
  ::close(fd);
  if (written && ::rename(part.c_str(), (folder / "config.json").c_str()) == 0) return {};
  const int last = written ? errno : why;
  ::unlink(part.c_str());
  return errno_error(last, "write " + (folder / "config.json").string());
}

result<int> perform_login(session& s) {
  result<std::string> url = s.flags().api_url.empty() ? ask("Server URL: ") : result<std::string>(s.flags().api_url);
  if (!url) return url.error();
  result<std::string> key =
      s.flags().api_key.empty() ? ask_secret("Key (caged_sk_…): ") : result<std::string>(s.flags().api_key);
  if (!key) return key.error();
  if (key->rfind("caged_", 0) != 0) {
    return fail(errc::invalid_argument, "not_a_key", "found a key that does not begin with 'caged_'",
                "Make one with 'caged keys create NAME' on the server.");
  }
  http::client_options options;
  options.base_url = *url;
  options.api_key = *key;
  auto client = http::client::make(std::move(options));
  if (!client) return client.error();
  auto account = client->call("GET", "/v1/account", nullptr, std::chrono::seconds(10));
  if (!account) return account.error();
  const fs::path folder = config::client_config_dir(s.env());
  if (auto ok = write_login(folder, {{"api_url", *url}, {"api_key", *key}}); !ok) return ok.error();
  if (s.machine()) {
    s.print_document(*account);
  } else {
    s.note("logged in as " + field(*account, "name") + "; kept in " + (folder / "config.json").string());
  }
  return 0;
}

// Says whether a file is right, and what it comes to.
result<int> check_file(session& s, const std::string& kind, const std::string& file) {
  if (kind == "host") {
    auto host = config::load_host_config(file, s.env());
    if (!host) return host.error();
    s.note((file.empty() ? std::string("the host configuration") : file) + " is right");
    return 0;
  }
  auto request = config::load_sandbox_file(file.empty() ? std::string(config::sandbox_file_name) : file, s.env());
  if (!request) return request.error();
  if (auto ok = request->settle(); !ok) return ok.error();
  json body = request->body();
  // For the eyes of a person or a log: the variables' names, not what they hold.
  if (body.contains("env")) {
    for (auto& value : body["env"]) value = "(set)";
  }
  if (body.contains("repo_token")) body["repo_token"] = "(set)";
  s.print_document(body);
  return 0;
}

void add_serve(CLI::App& root, const command_set& set) {
  auto f = std::make_shared<serve_flags>();
  const serve_function& serve = set.serve;
  auto* command = set.add(root, "serve", "Run the server in the foreground until it is told to stop",
                          "  caged serve\n  caged serve --listen 127.0.0.1:0 --data ~/caged-data\n"
                          "  caged serve --config /etc/caged/config.yaml --log-level debug\n"
                          "The first key lies in admin.key in the data folder.",
                          [f, &serve](session& s) { return perform_serve(s, *f, serve); });
  command->add_option("--listen", f->listen, "ADDR:PORT (default 127.0.0.1:8080; port 0 takes any free one)");
  command->add_option("--data", f->data, "Data folder (default /var/lib/caged for root, else ~/.local/share/caged)");
  command->add_option("--config", f->config, "Configuration file (default /etc/caged/config.yaml when there is one)");
  command->add_option("--log-level", f->log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  add_list_flag(*command, "--plugin-dir", f->plugin_dirs, "Folder to load plugins from; repeatable", '\0');
  add_list_flag(*command, "--accept-missing", f->accept_missing, "Walls that may be missing (see 'caged doctor')", ',');
}

}  // namespace

void add_local_commands(CLI::App& root, const command_set& set) {
  add_serve(root, set);
  set.add(root, "version", "Print the version, and the server's when one is near", "  caged version --json",
          perform_version);
  auto manual = std::make_shared<bool>(false);
  set.add(root, "login", "Keep a server's address and key for later commands",
          "  caged login --api-url https://caged.example.org", perform_login)
      ->add_flag("--manual", *manual, "Type address and key (always so; kept for older scripts)");

  auto* group = set.add_group(root, "config", "Check configuration files");
  auto kind = std::make_shared<std::string>();
  auto file = std::make_shared<std::string>();
  auto* check = set.add(*group, "check", "Say whether a file is right: .caged.yaml (sandbox) or the server's (host)",
                        "  caged config check sandbox\n  caged config check host /etc/caged/config.yaml",
                        [=](session& s) { return check_file(s, *kind, *file); });
  check->add_option("KIND", *kind, "sandbox or host")->required()->check(CLI::IsMember({"sandbox", "host"}));
  check->add_option("FILE", *file, "The file (default ./.caged.yaml, /etc/caged/config.yaml)");
  set.add(*group, "schema", "Print the JSON Schema of the host configuration", "  caged config schema",
          [](session& s) -> result<int> {
            s.print_document(config::host_config_schema());
            return 0;
          });
}

}  // namespace caged::cli
