// Verdicts: whom a connection means, whether rules, classes of addresses and policies let it.
#include <algorithm>

#include "core/network/box_network.hpp"

namespace caged::network {

bool is_internal(std::string_view name) { return name.ends_with(".caged.internal"); }

// For protocols that name nobody: a name that this box was told for the address; one that is allowed, if any is.
std::string box_network::best_name(const flow& f) const {
  const auto known = names_of_.find(f.to.address);
  if (known == names_of_.end()) return {};
  destination trial = f.to;
  for (const auto& name : known->second) {
    trial.name = name;
    if (decide(rules_, trial).allowed) return name;
  }
  return known->second.back();
}

void box_network::describe_destination(flow& f, const sniffed& seen) {
  auto& to = f.to;
  to.name.clear();
  to.name_source.clear();
  to.hidden_name = seen.hidden_name;
  to.name_fits = true;
  if (seen.what == sniffed::kind::tls || seen.what == sniffed::kind::http) {
    const bool tls = seen.what == sniffed::kind::tls;
    to.protocol = tls ? "tls" : "http";
    if (const auto name = normal_name(seen.name)) {
      to.name = *name;
      to.name_source = tls ? "sni" : "host";
      return;
    }
    if (!seen.name.empty()) return;  // an address, or no name at all: neither may borrow a name
  } else {
    to.protocol = seen.problem.starts_with("HTTP") ? "http" : "tcp";
  }
  to.name = best_name(f);
  if (!to.name.empty()) to.name_source = "dns";
}

task<verdict> box_network::judge(std::shared_ptr<flow> f, sniffed seen) {
  describe_destination(*f, seen);
  auto& to = f->to;
  const auto stand_in =
      std::find_if(stand_ins_.begin(), stand_ins_.end(), [&to](const auto& s) { return s.second == to.address; });
  const auto inner = stand_in == stand_ins_.end() ? plane_.inner_class(to.address, to.port) : std::string();
  if (!inner.empty() && rules_.access != mode::none)
    co_return deny("inner_address",
                   shown(to) + " is a" + (inner == "own" ? "n address of the host" : " " + inner + " address") + " (" +
                       to.address.to_string() + ")",
                   inner == "metadata" ? "Nothing inside a sandbox needs the metadata service."
                                       : "The operator may list the address in network.allow_inner.");
  const bool strict = rules_.access == mode::allowlist;
  if (strict && seen.what == sniffed::kind::malformed) {
    // An address that is allowed as such may be spoken to in any way.
    destination bare = to;
    bare.name.clear();
    bare.protocol = "tcp";
    const verdict by_address = decide(rules_, bare);
    if (!by_address.allowed)
      co_return deny("malformed", "the connection to " + shown(to) + " began with " + seen.problem,
                     "Use a client that speaks TLS or HTTP as written.");
  }
  if (strict && (to.name_source == "sni" || to.name_source == "host") && !remembers(to.name, to.address)) {
    // Only names that could be allowed are looked up: asking is already telling.
    to.name_fits = false;
    if (decide_name(rules_, to.name).allowed) {
      auto found = co_await plane_.names_.addresses(to.name);
      to.name_fits = found && std::find(found->begin(), found->end(), to.address) != found->end();
    }
  }
  verdict v = decide(rules_, to);
  if (!v.allowed || !plane_.parts_.policy) co_return v;
  // Rules by address are decided: the policy is not asked to match the name. An inner address that the operator allows
  // is not shown, because policies refuse inner addresses on their own.
  const bool by_address = std::any_of(rules_.allowed.begin(), rules_.allowed.end(),
                                      [&to](const auto& p) { return p.matches_address(to.address, to.port); });
  const bool opened = !class_of(to.address).empty();
  json question{{"host", strict && by_address ? std::string() : to.name},
                {"address", opened ? std::string() : to.address.to_string()},
                {"port", to.port},
                {"protocol", to.protocol},
                {"mode", opened || !strict ? std::string_view("full") : to_string(rules_.access)}};
  json patterns = json::array();
  for (const auto& p : rules_.allowed) patterns.push_back(p.text());
  question["allowed_hosts"] = std::move(patterns);
  auto said = co_await plane_.parts_.policy(id_, std::move(question));
  if (!said)
    co_return deny("policy_failed", "no policy could be asked: " + said.error().message, "Look at the server's log.");
  if (!said->allowed) co_return *said;
  // The rules may have changed while the policy thought.
  co_return decide(rules_, to);
}

}  // namespace caged::network
