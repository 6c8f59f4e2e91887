#include <core/cli/journal_pages.hpp>

#include <core/cli/session.hpp>

namespace caged::cli {

result<std::uint64_t> each_event(http::client& client, const std::string& session, const std::vector<std::string>& types,
                                 const std::function<bool(json)>& take) {
  std::uint64_t after = 0, told = 0;
  while (true) {
    std::vector<std::pair<std::string, std::string>> wanted{{"after_seq", std::to_string(after)}, {"limit", "1000"}};
    for (const auto& type : types) wanted.emplace_back("type", type);
    auto page = client.call("GET", "/v1/sessions/" + http::encode_component(session) + "/replay" + query(wanted));
    if (!page) return page.error();
    for (json& e : (*page)["events"]) {
      ++told;
      if (!take(std::move(e))) return told;
    }
    if (!page->value("has_more", false)) return told;
    after = page->value("next_seq", after);
  }
}

}  // namespace caged::cli
