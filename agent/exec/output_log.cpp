#include "exec/output_log.hpp"

#include <algorithm>
#include <cstring>

namespace caged::agent {

void output_log::grow(std::size_t needed) {
  if (needed <= size_) return;
  std::size_t bigger = std::max<std::size_t>(size_, 4096);
  while (bigger < needed && bigger < capacity) bigger *= 2;
  if (bigger == size_) return;
  auto ring = std::make_unique_for_overwrite<char[]>(bigger);
  for (std::uint64_t at = begin_; at < end_;) {
    const std::size_t old_index = at & (size_ - 1), new_index = at & (bigger - 1);
    const std::size_t run = std::min({static_cast<std::size_t>(end_ - at), size_ - old_index, bigger - new_index});
    std::memcpy(ring.get() + new_index, ring_.get() + old_index, run);
    at += run;
  }
  ring_ = std::move(ring);
  size_ = bigger;
}

std::size_t output_log::room(std::uint64_t keep_from) const noexcept {
  if (marks_.size() > max_marks / 2) {
    const auto first = std::upper_bound(marks_.begin(), marks_.end(), keep_from,
                                        [](std::uint64_t at, const mark& m) { return at < m.from; });
    if (static_cast<std::size_t>(marks_.end() - first) > max_marks / 2) return 0;
  }
  return capacity - static_cast<std::size_t>(end_ - keep_from);
}

void output_log::append(output_stream stream, std::string_view bytes) {
  if (bytes.empty()) return;
  if (marks_.empty() || marks_.back().stream != stream) marks_.push_back({end_, stream});
  if (bytes.size() > capacity) {
    end_ += bytes.size() - capacity;
    bytes.remove_prefix(bytes.size() - capacity);
    begin_ = end_;
  }
  grow(static_cast<std::size_t>(end_ - begin_) + bytes.size());
  while (!bytes.empty()) {
    const std::size_t index = end_ & (size_ - 1);
    const std::size_t run = std::min(bytes.size(), size_ - index);
    std::memcpy(ring_.get() + index, bytes.data(), run);
    end_ += run;
    bytes.remove_prefix(run);
  }
  if (end_ - begin_ > size_) begin_ = end_ - size_;
  // One-byte writes to alternating streams must not make the marks outgrow the ring.
  while (marks_.size() > 1 && (marks_[1].from <= begin_ || marks_.size() > max_marks)) {
    begin_ = std::max(begin_, marks_[1].from);
    marks_.pop_front();
  }
}

output_log::piece output_log::at(std::uint64_t from, std::size_t limit) const {
  from = std::max(from, begin_);
  if (from >= end_ || limit == 0) return {output_stream::out, {}};
  auto next =
      std::upper_bound(marks_.begin(), marks_.end(), from, [](std::uint64_t at, const mark& m) { return at < m.from; });
  const std::uint64_t until = next == marks_.end() ? end_ : next->from;
  const output_stream stream = std::prev(next)->stream;
  const std::size_t index = from & (size_ - 1);
  const std::size_t run = std::min({static_cast<std::size_t>(until - from), size_ - index, limit});
  return {stream, std::string_view(ring_.get() + index, run)};
}

}  // namespace caged::agent
