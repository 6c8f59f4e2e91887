#include "core/journal/retention.hpp"

#include <caged/storage.hpp>

#include "core/journal/verify.hpp"

namespace caged::journal {
namespace {

// A commit holds up all others.
constexpr std::uint64_t most_at_once = 20'000;

write cut(const std::string& session_id, std::uint64_t up_to) {
  write w;
  w.what = write::op::cut;
  w.kind = "events";
  w.id = session_id;
  w.body = up_to;
  return w;
}

event told(json data) {
  event e;
  e.session_id = host_session;
  e.type = "lifecycle";
  e.data = std::move(data);
  return e;
}

task<std::optional<event>> event_at(storage* s, std::string session_id, std::uint64_t sequence) {
  event_query q;
  q.session_id = std::move(session_id);
  q.after_sequence = sequence - 1;
  q.limit = 1;
  auto page = co_await s->events(std::move(q));
  if (!page) co_return page.error();
  if (page->empty()) co_return std::nullopt;
  co_return std::move(page->front());
}

// The last number of a session, of `low` (dropped already) to `high`, whose event is older; by halving, for events of a
// session stand in the order of their time.
task<std::uint64_t> last_before(storage* s, std::string session_id, std::uint64_t low, std::uint64_t high,
                                std::int64_t until_us) {
  while (low < high) {
    const auto middle = low + (high - low + 1) / 2;
    auto found = co_await event_at(s, session_id, middle);
    if (!found) co_return found.error();
    if (*found && (**found).time_us < until_us)
      low = middle;
    else
      high = middle - 1;
  }
  co_return low;
}

}  // namespace

task<std::uint64_t> drop_before(journal* j, storage* s, std::string session_id, std::int64_t until_us) {
  auto head = co_await s->head(session_id);
  if (!head) co_return head.error();
  auto anchor = co_await s->get(anchor_kind, session_id);
  if (!anchor) co_return anchor.error();
  std::uint64_t done = *anchor ? (**anchor).body.value("sequence", std::uint64_t{0}) : 0;
  const auto before = done;
  if (head->sequence <= done + 1) co_return 0;
  auto last = co_await last_before(s, session_id, done, head->sequence - 1, until_us);
  if (!last) co_return last.error();
  while (done < *last) {
    const auto up_to = std::min(*last, done + most_at_once);
    auto end = co_await event_at(s, session_id, up_to);
    if (!end) co_return end.error();
    if (!*end || (**end).sequence != up_to) break;  // the chain has a hole: that is for verify() to tell
    const json link{{"sequence", up_to}, {"hash", (**end).hash}, {"event_id", (**end).id}};
    write kept;
    kept.kind = anchor_kind;
    kept.id = session_id;
    kept.body = link;
    std::vector<write> writes;
    writes.push_back(std::move(kept));
    writes.push_back(cut(session_id, up_to));
    std::vector<event> events;
    events.push_back(told({{"action", "events_dropped"}, {"session", session_id}, {"anchor", link}}));
    auto stored = co_await j->append(std::move(events), std::move(writes));
    if (!stored) co_return stored.error();
    done = up_to;
  }
  co_return done - before;
}

task<void> drop_session(journal* j, std::string session_id, std::vector<write> writes) {
  writes.push_back(cut(session_id, ~std::uint64_t{0} >> 1));
  write anchor;
  anchor.what = write::op::erase;
  anchor.kind = anchor_kind;
  anchor.id = session_id;
  writes.push_back(std::move(anchor));
  std::vector<event> events;
  events.push_back(told({{"action", "session_forgotten"}, {"session", session_id}}));
  auto stored = co_await j->append(std::move(events), std::move(writes));
  if (!stored) co_return stored.error();
  co_return result<void>{};
}

}  // namespace caged::journal
