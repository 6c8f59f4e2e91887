#include "core/journal/verify.hpp"

#include "core/journal/canonical.hpp"

namespace caged::journal {
namespace {

// "" when the event follows the chain as it stands.
std::string misfit(const event& e, const verification& so_far, std::uint64_t last_id) {
  const auto expected = so_far.dropped + so_far.events + 1;
  if (e.sequence != expected)
    return "expected number " + std::to_string(expected) + " of the session, found " + std::to_string(e.sequence);
  if (e.id <= last_id) return "its id is not above the one before, " + std::to_string(last_id);
  const std::string computed = link_hash(e, so_far.head);
  if (computed != e.hash) return "its hash is " + e.hash + ", its content and the event before give " + computed;
  return {};
}

}  // namespace

task<verification> verify_chain(storage& s, std::string session_id) {
  verification v;
  v.head = genesis_hash;
  std::uint64_t last_id = 0;
  if (session_id.empty())
    co_return fail(errc::invalid_argument, "invalid_input", "the session id is empty", "Name a session.", "/id");
  // Where retention cut the chain, it left the link that the rest hangs on.
  auto anchor = co_await s.get(anchor_kind, session_id);
  if (!anchor) co_return anchor.error();
  if (*anchor) {
    v.dropped = (**anchor).body.value("sequence", std::uint64_t{0});
    v.head = (**anchor).body.value("hash", "");
    last_id = (**anchor).body.value("event_id", std::uint64_t{0});
  }
  while (true) {
    event_query q;
    q.session_id = session_id;
    q.after_sequence = v.dropped + v.events;
    q.limit = 500;
    auto page = co_await s.events(std::move(q));
    if (!page) co_return page.error();
    for (const auto& e : *page) {
      if (auto what = misfit(e, v, last_id); !what.empty()) {
        v.broken = verification::break_point{e.sequence, e.id, std::move(what)};
        co_return v;
      }
      ++v.events;
      v.head = e.hash;
      last_id = e.id;
    }
    if (page->size() < 500) co_return v;
  }
}

}  // namespace caged::journal
