#include <core/config/sandbox_file.hpp>

#include <core/config/node_reader.hpp>

namespace caged::config {
namespace {

// What is needed beside the value itself to read one key.
struct reading {
  std::string_view file;
  std::filesystem::path folder;
  const environment& env;
  sandbox_request out;
  // The long forms (resources.*, network_mode) beat the short ones unless they are zero or empty.
  sandbox_request aliases;
};

// Takes a result<T> into an optional<T>.
template <class T>
result<void> put(std::optional<T>& slot, result<T> value) {
  if (!value) return value.error();
  slot = std::move(*value);
  return {};
}

result<void> put_network(std::optional<std::string>& slot, const node_reader& at) {
  auto text = at.text();
  if (!text) return text.error();
  if (text->empty()) return {};  // empty = absent, so that the alias counts
  auto mode = parse_network_mode(*text);
  if (!mode) return at.located(mode.error());
  slot = std::move(*mode);
  return {};
}

using key_reader = result<void> (*)(reading&, const node_reader&);

struct key_row {
  const char* name;
  key_reader read;
};

template <std::size_t N>
std::vector<std::string> names_of(const key_row (&rows)[N]) {
  std::vector<std::string> out;
  for (const key_row& row : rows) out.emplace_back(row.name);
  return out;
}

// Reads every member of a mapping by the table; a null value is the same as an absent key.
template <std::size_t N>
result<void> read_mapping(reading& r, const node_reader& at, const key_row (&rows)[N]) {
  if (auto ok = at.mapping(); !ok) return ok.error();
  for (const auto& member : at.node().members) {
    const auto row =
        std::find_if(std::begin(rows), std::end(rows), [&](const key_row& k) { return member.name == k.name; });
    if (row == std::end(rows)) return at.unknown_key(member, names_of(rows));
    const node_reader value(member.value, r.file, at.key().empty() ? member.name : at.key() + "." + member.name);
    if (value.is_null()) continue;
    if (auto ok = row->read(r, value); !ok) return ok.error();
  }
  return {};
}

const key_row resource_keys[] = {
    {"cpu", [](reading& r, const node_reader& n) { return put(r.out.cpus, n.number()); }},
    {"memory", [](reading& r, const node_reader& n) { return put(r.out.memory_mb, n.size(size_unit::mebibytes)); }},
    {"disk", [](reading& r, const node_reader& n) { return put(r.out.disk_gb, n.size(size_unit::gibibytes)); }},
};

// A path in the file is meant from the file's folder; URLs and scp-like addresses stay as they are.
std::string repo_address(std::string text, const std::filesystem::path& folder) {
  const bool relative = text == "." || text == ".." || text.rfind("./", 0) == 0 || text.rfind("../", 0) == 0;
  if (!relative) return text;
  return std::filesystem::absolute(folder / text).lexically_normal().string();
}

result<void> read_repo_url(reading& r, const node_reader& n) {
  auto text = n.text();
  if (!text) return text.error();
  if (text->empty()) return n.wrong_type("a URL or a path");
  r.out.repo_url = repo_address(std::move(*text), r.folder);
  return {};
}

// Read locally, and only named in the file: the token itself is nowhere in it.
result<void> read_token_env(reading& r, const node_reader& n) {
  auto name = n.text();
  if (!name) return name.error();
  if (r.out.repo_token) return {};  // a literal token beats it
  if (auto ok = check_env_name(*name, n.place()); !ok) return ok.error();
  auto value = r.env(*name);
  if (!value) {
    return fail(errc::invalid_argument, "unset_variable",
                n.place() + ": variable " + *name + " is not set in your environment",
                "Set it: 'export " + *name + "=…'.");
  }
  r.out.repo_token = std::move(*value);
  return {};
}

const key_row repo_keys[] = {
    {"url", read_repo_url},
    {"token", [](reading& r, const node_reader& n) { return put(r.out.repo_token, n.text()); }},
    {"token_env", [](reading&, const node_reader&) -> result<void> { return {}; }},  // read last, by read_repo
    {"branch", [](reading& r, const node_reader& n) { return put(r.out.repo_branch, n.text()); }},
    {"commit", [](reading& r, const node_reader& n) { return put(r.out.repo_commit, n.text()); }},
    {"subdirectory", [](reading& r, const node_reader& n) { return put(r.out.repo_subdir, n.text()); }},
};

result<void> read_repo(reading& r, const node_reader& n) {
  if (n.node().what == yaml_node::kind::scalar) return read_repo_url(r, n);
  if (n.node().what != yaml_node::kind::mapping) return n.wrong_type("a URL, a path or a mapping with 'url'");
  if (auto ok = read_mapping(r, n, repo_keys); !ok) return ok.error();
  if (!r.out.repo_url) {
    return fail(errc::invalid_argument, "missing_key", n.place() + ": has no 'url'", "Add 'url: https://…' to 'repo'.");
  }
  const yaml_node* token_env = n.node().find("token_env");
  if (token_env == nullptr || token_env->what == yaml_node::kind::null) return {};
  return read_token_env(r, node_reader(*token_env, r.file, "repo.token_env"));
}

result<void> read_env(reading& r, const node_reader& n) {
  if (auto ok = n.mapping(); !ok) return ok.error();
  for (const auto& member : n.node().members) {
    const node_reader value(member.value, r.file, "env." + member.name);
    if (auto ok = check_env_name(member.name, value.place()); !ok) return ok.error();
    auto text = value.is_null() ? result<std::string>(std::string()) : value.text();
    if (!text) return text.error();
    auto expanded = expand_variables(*text, r.env, value.place());
    if (!expanded) return expanded.error();
    r.out.env[member.name] = std::move(*expanded);
  }
  return {};
}

result<void> read_metadata(reading& r, const node_reader& n) {
  if (auto ok = n.mapping(); !ok) return ok.error();
  for (const auto& member : n.node().members) {
    auto text = node_reader(member.value, r.file, "metadata." + member.name).text();
    if (!text) return text.error();
    r.out.metadata[member.name] = std::move(*text);
  }
  return {};
}

// Names, or {name: arguments}; what the arguments mean is the policy's own affair, and checked by the server.
result<void> read_policies(reading& r, const node_reader& n) {
  if (n.node().what != yaml_node::kind::sequence) return n.wrong_type("a list of names, or of {name: arguments}");
  r.out.policies = to_json(n.node(), nullptr);
  return {};
}

const key_row root_keys[] = {
    {"name", [](reading& r, const node_reader& n) { return put(r.out.name, n.text()); }},
    {"template", [](reading& r, const node_reader& n) { return put(r.out.template_name, n.text()); }},
    {"resources", [](reading& r, const node_reader& n) { return read_mapping(r, n, resource_keys); }},
    {"cpus", [](reading& r, const node_reader& n) { return put(r.aliases.cpus, n.number()); }},
    {"memory", [](reading& r, const node_reader& n) { return put(r.aliases.memory_mb, n.size(size_unit::mebibytes)); }},
    {"disk", [](reading& r, const node_reader& n) { return put(r.aliases.disk_gb, n.size(size_unit::gibibytes)); }},
    {"network", [](reading& r, const node_reader& n) { return put_network(r.aliases.network_mode, n); }},
    {"network_mode", [](reading& r, const node_reader& n) { return put_network(r.out.network_mode, n); }},
    {"allowed_hosts", [](reading& r, const node_reader& n) { return put(r.out.allowlist, n.texts()); }},
    {"allowlist", [](reading& r, const node_reader& n) { return put(r.aliases.allowlist, n.texts()); }},
    {"repo", read_repo},
    {"timeout", [](reading& r, const node_reader& n) { return put(r.out.timeout, n.duration()); }},
    {"budget", [](reading& r, const node_reader& n) { return put(r.out.budget, n.number()); }},
    {"init_script", [](reading& r, const node_reader& n) { return put(r.out.init_script, n.text()); }},
    {"secrets", [](reading& r, const node_reader& n) { return put(r.out.secrets, n.texts()); }},
    {"env", read_env},
    {"packages", [](reading& r, const node_reader& n) { return put(r.out.packages, n.texts()); }},
    {"agents", [](reading& r, const node_reader& n) { return put(r.out.agents, n.texts()); }},
    {"backend", [](reading& r, const node_reader& n) { return put(r.out.backend, n.text()); }},
    {"policies", read_policies},
    {"metadata", read_metadata},
};

template <class T>
void prefer(std::optional<T>& slot, const std::optional<T>& alias) {
  if (!slot || *slot == T{}) slot = alias;
}

// Zero and empty mean "the server decides".
template <class T>
void drop_empty(std::optional<T>& slot) {
  if (slot && *slot == T{}) slot.reset();
}

void settle_aliases(reading& r) {
  prefer(r.out.cpus, r.aliases.cpus);
  prefer(r.out.memory_mb, r.aliases.memory_mb);
  prefer(r.out.disk_gb, r.aliases.disk_gb);
  prefer(r.out.network_mode, r.aliases.network_mode);
  prefer(r.out.allowlist, r.aliases.allowlist);
  drop_empty(r.out.cpus);
  drop_empty(r.out.memory_mb);
  drop_empty(r.out.disk_gb);
  drop_empty(r.out.allowlist);
  drop_empty(r.out.template_name);
  drop_empty(r.out.timeout);
  drop_empty(r.out.budget);
  drop_empty(r.out.backend);
  drop_empty(r.out.init_script);
  drop_empty(r.out.repo_token);
  drop_empty(r.out.repo_branch);
  drop_empty(r.out.repo_commit);
  drop_empty(r.out.repo_subdir);
}

}  // namespace

result<sandbox_request> parse_sandbox_file(std::string_view text, std::string_view name,
                                           const std::filesystem::path& folder, const environment& env) {
  auto root = parse_yaml(text, name);
  if (!root) return root.error();
  if (root->what == yaml_node::kind::null) return sandbox_request{};
  reading r{name, folder, env, {}, {}};
  if (auto ok = read_mapping(r, node_reader(*root, name, ""), root_keys); !ok) return ok.error();
  settle_aliases(r);
  return std::move(r.out);
}

result<sandbox_request> load_sandbox_file(const std::filesystem::path& file, const environment& env) {
  auto text = read_config_file(file);
  if (!text) return text.error();
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  return parse_sandbox_file(*text, file.string(), folder, env);
}

}  // namespace caged::config
