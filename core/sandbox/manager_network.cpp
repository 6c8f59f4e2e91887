// The network of sandboxes: rules from their records, opened with the box, changed while it lives.
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {

result<network::rules> network_rules(const record& r) {
  auto rules = network::make_rules(r.network_mode, r.allowlist);
  if (!rules) return rules.error();
  if (rules->access == network::mode::allowlist && r.allowlist.empty())
    return fail(errc::invalid_argument, "allowlist_missing",
                "network_mode allowlist is asked for, but no host is listed",
                "List hosts in allowlist, or use network_mode none.", "/allowlist");
  rules->bytes_per_second = static_cast<std::uint64_t>(r.network_rate);
  rules->bytes_total = static_cast<std::uint64_t>(r.network_bytes);
  return rules;
}

task<void> manager::open_network(std::shared_ptr<live> l) {
  if (parts_.network == nullptr) co_return result<void>{};
  auto rules = network_rules(l->rec);
  if (!rules) co_return rules.error();
  if (parts_.network->is_open(l->rec.id)) {
    parts_.network->change(l->rec.id, std::move(*rules));
    co_return result<void>{};
  }
  const bool none = rules->access == network::mode::none;
  if (none && !parts_.network->serves_anything()) co_return result<void>{};
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  auto* gate = (*backend)->extension<vmm_network>();
  if (gate == nullptr) {
    if (none) co_return result<void>{};
    co_return fail(
        errc::unsupported, "network_mode_unsupported",
        "the backend \"" + l->rec.backend + "\" cannot give a sandbox the network mode \"" + l->rec.network_mode + "\"",
        "Use network_mode none, or another backend.", "/network_mode");
  }
  co_return co_await parts_.network->open(l->rec.id, *gate, std::move(*rules));
}

task<void> manager::open_networks() {
  for (const auto& l : all()) {
    if (l->rec.status != state::running && l->rec.status != state::paused) continue;
    if (parts_.network == nullptr || parts_.network->is_open(l->rec.id)) continue;
    if (auto opened = co_await open_network(l); !opened)
      parts_.log(log_level::error, "the network of " + l->rec.id + " could not be opened: " + describe(opened.error()));
  }
  co_return result<void>{};
}

result<void> manager::change_network(record& r, const json& patch) const {
  const char* list = patch.contains("allowlist") ? "allowlist" : "allowed_hosts";
  const bool listed = patch.contains(list);
  if (listed) r.allowlist = patch[list].get<std::vector<std::string>>();
  if (patch.contains("network_mode"))
    r.network_mode = patch["network_mode"].get<std::string>();
  else if (listed && r.network_mode == "none" && !r.allowlist.empty())
    r.network_mode = "allowlist";
  r.network_rate = patch.value("network_rate", r.network_rate);
  r.network_bytes = patch.value("network_bytes", r.network_bytes);
  if (auto fine = network_rules(r); !fine) return fine.error();
  return {};
}

json manager::network_status(const std::string& id) const {
  return parts_.network == nullptr ? json(nullptr) : parts_.network->status(id);
}

}  // namespace caged::sandbox
