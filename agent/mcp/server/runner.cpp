#include "mcp/server/runner.hpp"

#include <signal.h>

namespace caged::mcp {
namespace {

using namespace std::chrono_literals;
using agent::steady;

constexpr auto progress_interval = 500ms;

// Takes everything at once, so that the process never waits for a reader.
class collector : public agent::process_reader, public std::enable_shared_from_this<collector> {
 public:
  collector(workspace& w, call_ptr call, std::shared_ptr<agent::process> which, std::size_t keep,
            std::function<void(run_outcome&)> done)
      : w_(w), call_(std::move(call)), process_(std::move(which)), done_(std::move(done)) {
    outcome_.id = process_->about().id;
    outcome_.out = head_and_tail(keep);
    outcome_.error = head_and_tail(keep);
  }

  void begin() {
    self_ = shared_from_this();
    process_->attach(this);
    std::weak_ptr<collector> weak = self_;
    call_->on_cancel([weak] {
      if (const auto c = weak.lock()) c->cancel();
    });
    output_ready();
  }

  void output_ready() override {
    if (ended_) return;
    for (auto piece = process_->log().at(position_, page_bytes); !piece.bytes.empty();
         piece = process_->log().at(position_, page_bytes)) {
      (piece.stream == agent::output_stream::err ? outcome_.error : outcome_.out).append(piece.bytes);
      position_ += piece.bytes.size();
      latest_.append(piece.bytes.substr(piece.bytes.size() - std::min<std::size_t>(piece.bytes.size(), 200)));
    }
    tell_progress();
    if (!process_->finished()) return;
    ended_ = true;
    // Not from inside the process's own call.
    w_.events().post([self = self_] { self->end(); });
  }
  void stdin_taken(std::size_t) override {}
  std::uint64_t position() const noexcept override { return position_; }

 private:
  void tell_progress() {
    if (!call_->wants_progress() || position_ == 0 || steady::now() < next_progress_) return;
    next_progress_ = steady::now() + progress_interval;
    const std::string text = plain(latest_);
    latest_.clear();
    const std::size_t end = text.find_last_not_of('\n');
    const std::size_t begin = end == std::string::npos ? 0 : text.rfind('\n', end) + 1;
    call_->progress(static_cast<double>(position_), std::nullopt,
                    end == std::string::npos ? "" : text.substr(begin, end - begin + 1));
  }

  void cancel() {
    if (ended_) return;
    ended_ = true;
    done_ = nullptr;
    agent::process& p = *process_;
    p.detach(this);
    try {
      p.signal(SIGKILL);
    } catch (const wire::failed&) {
      // It has ended by itself and left nothing.
    }
    w_.events().post([self = self_] { self->self_.reset(); });
  }

  void end() {
    if (!done_) return self_.reset();
    process_->detach(this);
    outcome_.exit = process_->exit_json(0);
    const auto done = std::exchange(done_, nullptr);
    try {
      done(outcome_);
    } catch (const wire::failed& f) {
      call_->fail(failure_text(f.get()));
    } catch (const std::exception& e) {
      call_->fail("internal error: " + std::string(e.what()));
    }
    self_.reset();
  }

  workspace& w_;
  call_ptr call_;
  std::shared_ptr<agent::process> process_;
  std::function<void(run_outcome&)> done_;
  run_outcome outcome_;
  std::uint64_t position_ = 0;
  std::string latest_;
  steady::time_point next_progress_ = steady::now() + progress_interval;
  bool ended_ = false;
  std::shared_ptr<collector> self_;  // lives until the process has ended
};

}  // namespace

void run_program(workspace& w, const call_ptr& call, const json& what, std::size_t keep,
                 std::function<void(run_outcome&)> done) {
  auto started = w.start_process(what);
  std::make_shared<collector>(w, call, std::move(started), keep, std::move(done))->begin();
}

}  // namespace caged::mcp
