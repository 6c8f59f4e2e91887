#include <core/cli/copy.hpp>

#include <core/cli/archive.hpp>
#include <core/cli/exec_session.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

struct descriptor {
  int fd = -1;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string base_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string joined(const std::string& folder, const std::string& name) {
  return !folder.empty() && folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode & 0777);
  return text;
}

result<json> remote_stat(http::client& client, const copy_place& place) {
  return client.call("GET", sandbox_path(place.sandbox, "/files/stat") + query({{"path", place.path}}));
}

bool is_remote_folder(const result<json>& entry) { return entry && field(*entry, "type") == "directory"; }

void tell(const session& s, const std::string& from, const std::string& to, std::uint64_t bytes) {
  if (s.machine()) {
    s.print_document({{"from", from}, {"to", to}, {"bytes", bytes}});
  } else {
    s.note("copied " + human_bytes(bytes) + " to " + to);
  }
}

result<int> upload_file(session& s, http::client& client, const std::string& from, copy_place to) {
  // A target that is a folder, or ends in a slash, takes the file under its own name.
  if (to.path.empty() || to.path.back() == '/' || is_remote_folder(remote_stat(client, to))) {
    to.path = joined(to.path.empty() ? "/workspace" : to.path, base_name(from));
  }
  descriptor file{::open(from.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) return errno_error(errno, "read " + from, "Check the path.");

  progress shown("copying " + base_name(from));
  std::uint64_t sent = 0;
  std::optional<error> local;
  http::client_request request;
  request.method = "PUT";
  request.target =
      sandbox_path(to.sandbox, "/files/content") + query({{"path", to.path}, {"mode", octal(info.st_mode)}});
  request.fields = {{"content-type", "application/octet-stream"}};
  if (S_ISREG(info.st_mode)) request.body_size = static_cast<std::uint64_t>(info.st_size);
  const std::uint64_t most = request.body_size.value_or(~std::uint64_t{0});
  request.body_source = [&]() -> result<std::string> {
    std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(256 * 1024, most - sent)), '\0');
    ssize_t n = 0;
    do n = ::read(file.fd, piece.data(), piece.size());
    while (n < 0 && errno == EINTR);
    if (n < 0) {
      local = errno_error(errno, "read " + from);
      return *local;
    }
    piece.resize(static_cast<std::size_t>(n));
    sent += static_cast<std::uint64_t>(n);
    shown.say("copying " + base_name(from) + ", " + human_bytes(sent));
    return piece;
  };
  auto answer = client.request(std::move(request));
  shown.stop();
  if (local) return *local;
  if (!answer) return answer.error();
  if (!answer->ok()) return answer->failure();
  tell(s, from, to.sandbox + ":" + to.path, sent);
  return 0;
}

result<int> upload_folder(session& s, http::client& client, const std::string& from, const copy_place& to) {
  // Like cp -r: into a folder that exists under the own name, else as the folder itself.
  const bool into = is_remote_folder(remote_stat(client, to));
  const std::string name = base_name(fs::absolute(from).lexically_normal().string());
  const std::string place = into ? joined(to.path, name) : to.path.empty() ? "/workspace/" + name : to.path;
  auto made = client.call("POST", sandbox_path(to.sandbox, "/files/mkdir"), {{"path", place}, {"parents", true}});
  if (!made) return made.error();
  auto packed = archive_writer::open(from, ".");
  if (!packed) return packed.error();
  archive_writer& writer = **packed;
  progress shown("copying " + name);
  json input = {{"argv", {"tar", "-x", "-f", "-", "-C", place, "--no-same-owner"}}, {"timeout", 86400}};
  auto done = run_piped(
      client, to.sandbox, std::move(input),
      [&]() -> result<std::string> {
        auto piece = writer.read();
        shown.say("copying " + name + ", " + human_bytes(writer.bytes()));
        return piece;
      },
      [](std::string_view) -> result<void> { return {}; });
  shown.stop();
  if (!done) return done.error();
  if (done->code != 0) {
    return fail(errc::unavailable, "tar_failed",
                "tar in the sandbox ended with " + std::to_string(done->code) + ": " + done->complaints,
                "Copying a folder needs 'tar' in the sandbox and room on its disk.");
  }
  tell(s, from, to.sandbox + ":" + place, writer.bytes());
  return 0;
}

result<int> download_file(session& s, http::client& client, const copy_place& from, std::string to, const json& entry) {
  std::error_code failed;
  if (to.empty() || to.back() == '/' || fs::is_directory(to, failed))
    to = joined(to.empty() ? "." : to, base_name(from.path));
  http::client_request request;
  request.target = sandbox_path(from.sandbox, "/files/content") + query({{"path", from.path}});
  auto opened = client.open(std::move(request));
  if (!opened) return opened.error();
  if (!opened->head().ok()) {
    http::client_response refused;
    static_cast<http::client_head&>(refused) = opened->head();
    if (auto body = opened->read_all(65536)) refused.body = std::move(*body);
    return refused.failure();
  }
  mode_t mode = 0644;
  const json given = entry.value("mode", json());
  if (given.is_number_integer()) mode = static_cast<mode_t>(given.get<std::int64_t>());
  if (given.is_string()) mode = static_cast<mode_t>(std::strtol(given.get<std::string>().c_str(), nullptr, 8));
  // Into a file beside it, then renamed: a copy that breaks off leaves what was there.
  const std::string part = to + ".caged-part." + std::to_string(::getpid());
  descriptor file{::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (file.fd < 0) return errno_error(errno, "write " + part, "Check the target's folder and its permissions.");
  progress shown("copying " + base_name(from.path));
  std::uint64_t got = 0;
  const auto pump = [&]() -> result<void> {
    for (;;) {
      auto piece = opened->read();
      if (!piece) return piece.error();
      if (piece->empty()) break;
      if (!write_all(file.fd, *piece)) return errno_error(errno, "write " + part, "Check the free space.");
      got += piece->size();
      shown.say("copying " + base_name(from.path) + ", " + human_bytes(got));
    }
    // Set-id bits that a sandbox chose have no business on this machine.
    if (::fchmod(file.fd, mode & 0777) != 0) return errno_error(errno, "set the mode of " + part);
    if (::rename(part.c_str(), to.c_str()) != 0) return errno_error(errno, "rename to " + to);
    return {};
  };
  auto done = pump();
  shown.stop();
  if (!done) {
    ::unlink(part.c_str());
    return done.error();
  }
  tell(s, from.sandbox + ":" + from.path, to, got);
  return 0;
}

// Joins the socket's output, which is pushed, to the unpacking, which pulls.
class byte_queue {
 public:
  result<void> push(std::string_view bytes) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return held_ < (4u << 20) || refused_; });
    if (refused_) return fail(errc::cancelled, "unpacking_stopped", "unpacking has stopped");
    held_ += bytes.size();
    pieces_.emplace_back(bytes);
    filled_.notify_one();
    return {};
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    filled_.notify_one();
  }
  void refuse() {
    const std::lock_guard lock(mutex_);
    refused_ = true;
    room_.notify_one();
  }
  result<std::string> pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return !pieces_.empty() || finished_; });
    if (pieces_.empty()) return std::string();
    std::string out = std::move(pieces_.front());
    pieces_.pop_front();
    held_ -= out.size();
    room_.notify_one();
    return out;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_, room_;
  std::deque<std::string> pieces_;
  std::size_t held_ = 0;
  bool finished_ = false;
  bool refused_ = false;
};

result<int> download_folder(session& s, http::client& client, const copy_place& from, const std::string& to) {
  std::error_code failed;
  const std::string name = base_name(from.path);
  fs::path target = fs::is_directory(to, failed) && name != "." && name != "/" ? fs::path(to) / name : fs::path(to);
  fs::create_directories(target, failed);
  if (failed) return errno_error(failed.value(), "make " + target.string(), "Check the target's permissions.");
  target = fs::canonical(target, failed);
  if (failed) return errno_error(failed.value(), "find " + target.string());

  progress shown("copying " + name);
  byte_queue queue;
  std::uint64_t got = 0;
  result<std::uint64_t> unpacked = std::uint64_t{0};
  std::thread unpacker([&] {
    unpacked = unpack([&queue] { return queue.pop(); }, target, ".");
    queue.refuse();
  });
  json input = {{"argv", {"tar", "-c", "-f", "-", "-C", from.path, "."}}, {"timeout", 86400}};
  auto done = run_piped(
      client, from.sandbox, std::move(input), []() -> result<std::string> { return std::string(); },
      [&](std::string_view bytes) -> result<void> {
        got += bytes.size();
        shown.say("copying " + name + ", " + human_bytes(got));
        return queue.push(bytes);
      });
  queue.finish();
  unpacker.join();
  shown.stop();
  if (!unpacked) return unpacked.error();
  if (!done) return done.error();
  if (done->code != 0) {
    return fail(errc::unavailable, "tar_failed",
                "tar in the sandbox ended with " + std::to_string(done->code) + ": " + done->complaints,
                "Copying a folder needs 'tar' in the sandbox.");
  }
  tell(s, from.sandbox + ":" + from.path, target.string(), *unpacked);
  return 0;
}

}  // namespace

result<int> perform_copy(session& s, const copy_place& from, const copy_place& to) {
  if (from.sandbox.empty() == to.sandbox.empty()) {
    return fail(errc::invalid_argument, "bad_copy",
                from.sandbox.empty() ? "neither side names a sandbox" : "both sides name a sandbox",
                "Write one side as ID:PATH: caged cp cage_1a2b3c:/workspace/out ./out. "
                "A local name that holds a colon: write ./a:b.");
  }
  auto client = s.connect();
  if (!client) return client.error();
  if (from.sandbox.empty()) {
    std::error_code failed;
    const auto kind = fs::status(from.path, failed);
    if (!fs::exists(kind)) return errno_error(ENOENT, "read " + from.path, "Check the path.");
    return fs::is_directory(kind) ? upload_folder(s, *client, from.path, to) : upload_file(s, *client, from.path, to);
  }
  auto entry = remote_stat(*client, from);
  if (!entry) return entry.error();
  if (is_remote_folder(entry)) return download_folder(s, *client, from, to.path);
  return download_file(s, *client, from, to.path, *entry);
}

}  // namespace caged::cli
