#include "core/operation/terminal_record.hpp"

#include <caged/base64.hpp>

#include "core/base/time.hpp"
#include "core/sandbox/exec.hpp"

namespace caged::operation {

terminal_record::terminal_record(services* s, std::shared_ptr<sandbox::live> box, std::string process, int cols, int rows)
    : services_(s), box_(std::move(box)), process_(std::move(process)), next_{{"cols", cols}, {"rows", rows}} {}

void terminal_record::take(std::string_view output) {
  if (kept_ > most_kept) {
    dropped_ += output.size();
    return;
  }
  const auto now = base::now_us();
  if (!held_.empty() && (held_.size() + output.size() > most_held || now - since_us_ > longest_us)) flush();
  if (held_.empty()) since_us_ = now;
  held_ += output;
  kept_ += output.size();
}

void terminal_record::flush() {
  if (held_.empty() && dropped_ == 0) return;
  event e;
  e.session_id = box_->rec.session_id;
  e.sandbox_id = box_->rec.id;
  e.type = "terminal";
  e.time_us = since_us_;
  e.data = std::exchange(next_, json::object());
  e.data["process"] = process_;
  if (sandbox::is_utf8(held_))
    e.data["data"] = std::exchange(held_, {});
  else
    e.data["data_base64"] = base64_encode(std::exchange(held_, {}));
  if (dropped_ > 0) e.data["dropped_bytes"] = std::exchange(dropped_, 0);
  services_->journal->publish(std::move(e));
}

}  // namespace caged::operation
