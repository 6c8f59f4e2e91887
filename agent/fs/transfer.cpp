#include "fs/transfer.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "exec/process_table.hpp"
#include "exec/users.hpp"
#include "fs/entry.hpp"

namespace caged::agent {
namespace {

constexpr std::int64_t largest = std::int64_t{1} << 62;

failed not_regular(const std::string& shown, mode_t mode) {
  if (S_ISDIR(mode))
    return failed("invalid_argument", "is_a_directory", shown + " is a folder", "Use file.list for folders.", "/path");
  return failed("invalid_argument", "not_regular_file", shown + " is a " + type_name(mode) + ", not a file",
                "Read and write devices and pipes with a command.", "/path");
}

// Looks before it opens: opening a device can already do something.
fd open_regular(const tree& files, const std::string& path, int flags, struct stat& st) {
  const std::string shown = files.shown(path);
  const fd there = files.open(path, O_PATH);
  if (::fstat(there.get(), &st) != 0) throw os_failure(errno, "stat " + shown);
  if (!S_ISREG(st.st_mode)) throw not_regular(shown, st.st_mode);
  fd file = files.open(path, flags | O_NONBLOCK);
  // It may have been replaced in between; O_NONBLOCK has kept a FIFO from blocking.
  if (::fstat(file.get(), &st) != 0) throw os_failure(errno, "stat " + shown);
  if (!S_ISREG(st.st_mode)) throw not_regular(shown, st.st_mode);
  return file;
}

class download : public channel_handler {
 public:
  download(std::weak_ptr<connection> where, std::uint32_t number, fd file, std::string shown, off_t at,
           std::optional<std::int64_t> left)
      : where_(std::move(where)),
        number_(number),
        file_(std::move(file)),
        shown_(std::move(shown)),
        at_(at),
        left_(left) {}

  void writable() override {
    static char piece[wire::data_chunk];
    for (int i = 0; i < 16; ++i) {
      const auto where = where_.lock();
      if (!where || !file_) return;
      if (left_ && *left_ == 0) return finish(*where);
      std::size_t room = where->send_room(number_);
      if (left_) room = std::min(room, static_cast<std::size_t>(*left_));
      if (room == 0) return;
      const ssize_t n = ::pread(file_.get(), piece, room, at_);
      if (n < 0) return give_up(*where, os_failure(errno, "read " + shown_));
      if (n == 0 && left_)
        return give_up(
            *where, failed("conflict", "file_changed", shown_ + " became shorter while it was read", "Read it again."));
      if (n == 0) return finish(*where);
      at_ += n;
      if (left_) *left_ -= n;
      where->send_data(number_, wire::frame_kind::data, std::string_view(piece, static_cast<std::size_t>(n)));
    }
    // Others want the loop too; the socket or the next credit calls again. With room left nobody would: ask for it.
    if (const auto where = where_.lock()) where->call_again(number_);
  }
  void closed() override { file_.reset(); }

 private:
  void finish(connection& where) {
    file_.reset();
    where.send_end(number_);
    where.close_channel(number_);
  }
  void give_up(connection& where, const failed& why) {
    file_.reset();
    where.send_reset(number_, &why.get());
    where.close_channel(number_);
  }
  std::weak_ptr<connection> where_;
  std::uint32_t number_;
  fd file_;
  std::string shown_;
  off_t at_;
  std::optional<std::int64_t> left_;
};

class upload : public channel_handler, public std::enable_shared_from_this<upload> {
 public:
  upload(std::shared_ptr<call> asked, std::uint32_t number) : asked_(std::move(asked)), number_(number) {}
  ~upload() override { discard(); }

  void prepare(const tree& files, const arguments& args) {
    size_ = args.has("size") ? std::optional(args.number("size", 0, largest)) : std::nullopt;
    const std::string path = args.path();
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
    if (args.has("user")) {
      const user owner = find_user(args.text("user"));
      uid = owner.uid;
      gid = owner.gid;
    }
    const std::size_t slash = path.find_last_of('/');
    if (args.flag("create_parents", false) && slash != std::string::npos && slash > 0)
      files.make_parents(path.substr(0, slash), 0755, static_cast<int>(uid), static_cast<int>(gid));
    const std::string target = files.final_target(path);
    shown_ = files.shown(target);
    parent_ = files.open_parent(target, name_);
    struct stat old {};
    existed_ = !name_.empty() && ::fstatat(parent_.get(), name_.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (name_.empty()) throw not_regular(shown_, S_IFDIR);
    if (existed_ && !S_ISREG(old.st_mode)) throw not_regular(shown_, old.st_mode);
    if (existed_ && args.flag("exclusive", false))
      throw os_failure(EEXIST, "write " + shown_, "Leave exclusive out to replace it.");
    const auto mode = static_cast<mode_t>(args.number("mode", 0, 07777, existed_ ? old.st_mode & 07777 : 0644));
    if (existed_ && args.flag("append", false)) {
      file_ = open_regular(files, target, O_WRONLY | O_APPEND, old);
      append_from_ = old.st_size;
      return;
    }
    temporary_ = random_name(".caged-write-");
    file_ = fd(::openat(parent_.get(), temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file_) {
      temporary_.clear();
      throw os_failure(errno, "write in the folder of " + shown_);
    }
    if (existed_ && !args.has("user")) {
      uid = old.st_uid;
      gid = old.st_gid;
    }
    const bool given_away = uid == static_cast<uid_t>(-1) || ::fchown(file_.get(), uid, gid) == 0;
    if (!given_away && uid != ::geteuid()) throw os_failure(errno, "keep the owner of " + shown_);
    if (::fchmod(file_.get(), mode) != 0) throw os_failure(errno, "set the mode of " + shown_);
  }

  void data(std::string_view bytes) override {
    const std::size_t size = bytes.size();
    received_ += static_cast<std::int64_t>(size);
    if (size_ && received_ > *size_)
      return refuse(failed("invalid_argument", "size_mismatch",
                           "more than the announced " + std::to_string(*size_) + " bytes were sent",
                           "Announce the true size, or none.", "/size"));
    while (!bytes.empty()) {
      const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return refuse(os_failure(errno, "write " + shown_));
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    if (const auto where = asked_->from()) where->consumed(number_, size);
  }

  void ended() override {
    if (size_ && received_ != *size_)
      return refuse(failed("invalid_argument", "size_mismatch",
                           std::to_string(received_) + " bytes were sent, " + std::to_string(*size_) + " announced",
                           "Send the whole file.", "/size"));
    if (!temporary_.empty() && ::renameat(parent_.get(), temporary_.c_str(), parent_.get(), name_.c_str()) != 0)
      return refuse(os_failure(errno, "put " + shown_ + " in place"));
    temporary_.clear();
    append_from_ = -1;
    json value{{"size", received_}, {"created", !existed_}};
    put_path(value, "path", shown_);
    const auto where = asked_->from();
    asked_->answer(std::move(value));
    if (where) where->close_channel(number_);
  }

  void closed() override {
    discard();
    asked_->refuse({"cancelled", "upload_aborted", "the upload was cut off; the old file stays", "Send it again.", ""});
  }

 private:
  void refuse(const failed& why) {
    const auto keep = shared_from_this();
    discard();
    const auto where = asked_->from();
    asked_->refuse(why.get());
    if (!where) return;
    where->send_reset(number_, &why.get());
    where->close_channel(number_);
  }

  void discard() {
    if (!temporary_.empty()) ::unlinkat(parent_.get(), temporary_.c_str(), 0);
    temporary_.clear();
    if (append_from_ >= 0 && file_) [[maybe_unused]]
      const int ignored = ::ftruncate(file_.get(), append_from_);
    append_from_ = -1;
    file_.reset();
  }

  std::shared_ptr<call> asked_;
  std::uint32_t number_;
  std::optional<std::int64_t> size_;
  std::int64_t received_ = 0;
  fd parent_, file_;
  std::string name_, temporary_, shown_;
  bool existed_ = false;
  off_t append_from_ = -1;
};

std::uint32_t channel_of(const arguments& args) {
  return static_cast<std::uint32_t>(args.number("channel", 1, 0xffffffff));
}

}  // namespace

void start_download(const tree& files, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto where = asked->from();
  if (!where) return;
  const std::string path = args.path();
  const auto offset = args.number("offset", 0, largest, 0);
  const auto wanted = args.number("length", 0, largest, largest);
  struct stat st {};
  fd file = open_regular(files, path, O_RDONLY, st);
  std::optional<std::int64_t> left = std::min<std::int64_t>(wanted, std::max<std::int64_t>(0, st.st_size - offset));
  char probe = 0;
  // Files of /proc say they are empty and are not: their length shows only by reading.
  if (st.st_size == 0 && offset == 0 && wanted > 0 && ::pread(file.get(), &probe, 1, 0) == 1) left.reset();
  json head = json::object();
  put_path(head, "path", files.shown(path));
  head["size"] = st.st_size;
  head["offset"] = offset;
  if (left) head["length"] = *left;
  head["mode"] = st.st_mode & 07777;
  head["mod_time_unix_ms"] = std::int64_t{st.st_mtim.tv_sec} * 1000 + st.st_mtim.tv_nsec / 1000000;
  const std::uint32_t number = channel_of(args);
  auto handler = std::make_shared<download>(where, number, std::move(file), files.shown(path), offset, left);
  where->open_channel(number, handler);
  asked->answer(std::move(head));
  handler->writable();
}

void start_upload(const tree& files, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto where = asked->from();
  if (!where) return;
  const std::uint32_t number = channel_of(args);
  auto handler = std::make_shared<upload>(asked, number);
  handler->prepare(files, args);
  where->open_channel(number, handler);
  std::weak_ptr<upload> weak = handler;
  asked->on_cancel([weak, where_weak = std::weak_ptr(where), number] {
    if (const auto h = weak.lock()) h->closed();
    if (const auto w = where_weak.lock()) w->close_channel(number);
  });
}

}  // namespace caged::agent
