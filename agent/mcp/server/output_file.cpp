#include "mcp/server/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace caged::mcp {
namespace {

// Not below the workspace: the client could find it there.
agent::fd nameless_file() {
  for (const char* folder : {static_cast<const char*>(std::getenv("TMPDIR")), "/tmp", "/var/tmp"}) {
    if (folder == nullptr || *folder == '\0') continue;
    agent::fd made(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (made) return made;
  }
  return {};
}

}  // namespace

std::shared_ptr<output_file> output_file::follow(agent::loop& l, const std::shared_ptr<agent::process>& which) {
  std::shared_ptr<output_file> made(new output_file(l, which));
  which->attach(made.get());
  made->output_ready();
  return made;
}

// What still fits into the log is there twice for a while; a file is made only when it is needed.
void output_file::output_ready() {
  const auto p = process_.lock();
  if (!p || leaving_) return;
  const agent::output_log& log = p->log();
  constexpr std::size_t piece_size = 64u << 10;
  const bool needed = log.end() > agent::output_log::capacity - 2 * piece_size;
  if (needed || p->finished()) {
    for (auto piece = log.at(position_, piece_size); !piece.bytes.empty(); piece = log.at(position_, piece_size)) {
      if (needed) keep(piece.bytes);
      position_ += piece.bytes.size();
    }
  }
  if (!p->finished()) return;
  leaving_ = true;
  // Not from inside the process's own call.
  loop_.post([self = shared_from_this()] { self->let_go(); });
}

void output_file::let_go() {
  if (const auto p = process_.lock()) p->detach(this);
}

void output_file::keep(std::string_view bytes) {
  if (full_) return;
  if (!file_) file_ = nameless_file();
  bytes = bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), most - written_)));
  while (file_ && !bytes.empty()) {
    const ssize_t n = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(written_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    written_ += static_cast<std::uint64_t>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  // A full disk is no reason to end a command; what comes now is not in the file.
  full_ = !file_ || !bytes.empty() || written_ == most;
}

std::string output_file::read(std::uint64_t from, std::size_t limit) const {
  if (!file_ || from >= written_) return {};
  std::string out(static_cast<std::size_t>(std::min<std::uint64_t>(limit, written_ - from)), '\0');
  const ssize_t n = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(from));
  out.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return out;
}

}  // namespace caged::mcp
