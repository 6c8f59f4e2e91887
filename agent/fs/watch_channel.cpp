#include "fs/watch_channel.hpp"

#include <deque>

#include "fs/watch.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_queue = 1024;

class watch_channel : public channel_handler {
 public:
  watch_channel(loop& l, const tree& files, const std::string& path, watch_options options,
                std::weak_ptr<connection> where, std::uint32_t number)
      : where_(std::move(where)),
        number_(number),
        watch_(std::make_unique<folder_watch>(
            l, files, path, options,
            [this](std::vector<file_change> changes, std::uint64_t dropped) { take(std::move(changes), dropped); })) {}

  void writable() override {
    const auto where = where_.lock();
    while (where && !queue_.empty() && where->send_room(number_) >= queue_.front().size()) {
      where->send_data(number_, wire::frame_kind::data, queue_.front());
      queue_.pop_front();
    }
  }
  void closed() override { watch_.reset(); }
  const folder_watch& watch() const { return *watch_; }

 private:
  void take(std::vector<file_change> changes, std::uint64_t dropped) {
    dropped_ += dropped;
    for (const file_change& change : changes) {
      if (queue_.size() >= max_queue) {
        ++dropped_;
        continue;
      }
      json item{{"operation", change.operation},
                {"size", change.size},
                {"ts_unix_ms", change.ts_unix_ms},
                {"dropped_since_last", dropped_}};
      put_path(item, "path", change.path);
      if (!change.to.empty()) put_path(item, "to", change.to);
      queue_.push_back(wire::to_text(item));
      dropped_ = 0;
    }
    writable();
  }

  std::weak_ptr<connection> where_;
  std::uint32_t number_;
  std::deque<std::string> queue_;
  std::uint64_t dropped_ = 0;
  std::unique_ptr<folder_watch> watch_;
};

}  // namespace

void start_watch(loop& l, const tree& files, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto where = asked->from();
  if (!where) return;
  const auto number = static_cast<std::uint32_t>(args.number("channel", 1, 0xffffffff));
  watch_options options;
  options.recursive = args.flag("recursive", true);
  options.debounce = std::chrono::milliseconds(args.number("debounce_ms", 0, 60000, 300));
  const auto handler = std::make_shared<watch_channel>(l, files, args.path(), options, where, number);
  where->open_channel(number, handler);
  json head{{"folders", handler->watch().folders()}};
  put_path(head, "path", handler->watch().root());
  asked->answer(std::move(head));
}

}  // namespace caged::agent
