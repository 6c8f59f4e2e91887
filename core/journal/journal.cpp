#include "core/journal/journal.hpp"

#include "core/journal/core.hpp"
#include "core/journal/verify.hpp"

namespace caged::journal {

journal::journal(asio::any_io_executor executor, storage& s, options o)
    : core_(std::make_shared<core>(std::move(executor), s, o)) {}
journal::~journal() = default;

task<void> journal::open() { return core_->open(); }
task<void> journal::close() { return core_->close(); }
task<std::vector<event>> journal::append(std::vector<event> events, std::vector<write> writes) {
  return core_->append(std::move(events), std::move(writes));
}
void journal::publish(event e) { core_->publish(std::move(e)); }
task<void> journal::flush() { return core_->flush(); }
std::shared_ptr<item_source> journal::follow(follow_query q) { return core_->follow(std::move(q)); }
std::shared_ptr<event_reader> journal::read_on(follow_query q) { return core_->follow(std::move(q)); }
task<std::vector<event>> journal::read(event_query q) { return core_->page(std::move(q)); }
task<verification> journal::verify(std::string session_id) {
  return verify_chain(core_->stored(), std::move(session_id));
}
void journal::set_current_session(std::string sandbox_id, std::string session_id) {
  core_->set_current_session(std::move(sandbox_id), std::move(session_id));
}
std::string journal::current_session(const std::string& sandbox_id) const { return core_->current_session(sandbox_id); }
result<void> journal::add_secret(std::string value) { return core_->secrets().add(std::move(value)); }
void journal::remove_secret(const std::string& value) { core_->secrets().remove(value); }
statistics journal::stats() const { return core_->stats(); }

}  // namespace caged::journal
