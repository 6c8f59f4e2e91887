#include <core/cli/server.hpp>

#include <core/config/client_config.hpp>
#include <core/config/yaml.hpp>

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

error no_local_server(const fs::path& folder, const std::string& why) {
  return fail(errc::unavailable, "no_local_server", "no server is running on " + folder.string() + why,
              "Start one with 'caged serve --data " + folder.string() +
                  "', or name another with --api-url or CAGED_API_URL (and CAGED_API_KEY).");
}

// A file of a data folder: ours or root's, and nobody else may write it. Otherwise another user of this machine could
// send our key to a server of theirs.
result<std::string> read_trusted(const fs::path& file) {
  struct stat info {};
  if (::lstat(file.c_str(), &info) != 0) return errno_error(errno, "read " + file.string());
  const bool owned = info.st_uid == ::geteuid() || info.st_uid == 0;
  if (!S_ISREG(info.st_mode) || !owned || (info.st_mode & 022) != 0) {
    return fail(errc::permission_denied, "untrusted_file",
                file.string() + " belongs to another user, is not a plain file, or may be written by others",
                "Use a data folder of your own (--data or CAGED_DATA).");
  }
  return config::read_config_file(file);
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

bool is_alive(std::int64_t pid) { return pid > 1 && (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM); }

std::string as_url(std::string address) {
  if (address.find("://") == std::string::npos) address = "http://" + address;
  while (!address.empty() && address.back() == '/') address.pop_back();
  return address;
}

// A URL without a key of its own: the local server's key fits when it is the local server's URL.
result<endpoint> with_local_key(std::string url, const server_search& s, const std::string& found_by) {
  auto local = local_endpoint(s.data_dir);
  if (local && local->url == as_url(url)) return endpoint{local->url, local->key, found_by};
  return fail(errc::unauthenticated, "no_api_key", "there is no key for the server " + url + " (from " + found_by + ")",
              "Give one with --api-key, CAGED_API_KEY, or api_key in " +
                  (config::client_config_dir(s.env) / "config.yaml").string() +
                  "; the server's first key lies in admin.key in its data folder.");
}

}  // namespace

result<endpoint> find_endpoint(const server_search& s) {
  const std::string env_url = s.env("CAGED_API_URL").value_or("");
  const std::string env_key = s.env("CAGED_API_KEY").value_or("");
  const std::string given_key = !s.api_key.empty() ? s.api_key : env_key;

  if (s.api_url.empty() && !s.data.empty()) {
    auto local = local_endpoint(s.data_dir);
    if (local && !s.api_key.empty()) local->key = s.api_key;
    return local;
  }
  auto file = config::load_client_config(config::client_config_dir(s.env));
  const std::string url = !s.api_url.empty() ? s.api_url : env_url;
  if (!url.empty()) {
    const std::string found_by = !s.api_url.empty() ? "--api-url" : "CAGED_API_URL";
    // CAGED_API_KEY may be meant for CAGED_API_URL; with --api-url it is an explicit choice only when no other URL is
    // set.
    const bool env_key_fits = s.api_url.empty() || env_url.empty() || as_url(env_url) == as_url(s.api_url);
    const std::string key = !s.api_key.empty() ? s.api_key : env_key_fits ? env_key : "";
    if (!key.empty()) return endpoint{as_url(url), key, found_by};
    if (!file) return file.error();
    if (!file->api_key.empty() && as_url(file->api_url) == as_url(url)) {
      return endpoint{as_url(url), file->api_key, found_by};
    }
    return with_local_key(url, s, found_by);
  }
  if (!file) return file.error();
  if (!file->api_url.empty()) {
    const std::string key = !given_key.empty() ? given_key : file->api_key;
    if (!key.empty()) return endpoint{as_url(file->api_url), key, file->source.string()};
    return with_local_key(file->api_url, s, file->source.string());
  }
  auto local = local_endpoint(s.data_dir);
  if (local && !given_key.empty()) local->key = given_key;
  return local;
}

result<endpoint> local_endpoint(const fs::path& folder) {
  const fs::path record = folder / "server.json";
  auto text = read_trusted(record);
  if (!text) {
    if (text.error().code == errc::not_found) return no_local_server(folder, "");
    return text.error();
  }
  const auto parsed = parse_json(*text);
  if (!parsed || !parsed->is_object()) return no_local_server(folder, " (server.json is not readable)");
  const auto pid = parsed->find("pid");
  const auto address = parsed->find("address");
  if (pid == parsed->end() || !pid->is_number_integer() || address == parsed->end() || !address->is_string()) {
    return no_local_server(folder, " (server.json names no process and address)");
  }
  if (!is_alive(pid->get<std::int64_t>())) {
    return no_local_server(folder, " (process " + to_text(*pid) + ", which server.json names, has ended)");
  }
  endpoint out{as_url(address->get<std::string>()), "", record.string()};
  auto key = read_trusted(folder / "admin.key");
  if (key) out.key = trimmed(*key);
  // The folder may be readable to some who may not have the key: they bring their own.
  else if (key.error().code != errc::not_found && key.error().reason != "permission_denied")
    return key.error();
  return out;
}

}  // namespace caged::cli
