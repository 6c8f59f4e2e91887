#include "import.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <caged/owned_fd.hpp>
#include <caged/random.hpp>
#include <memory>

namespace caged::vmm::docker {
namespace {

using writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

error archive_failure(archive* a, const std::filesystem::path& source) {
  const char* said = archive_error_string(a);
  return fail(errc::internal, "archive_failed",
              "cannot pack " + source.string() + ": " + (said == nullptr ? "unknown" : said), "Check the folder.");
}

result<void> copy_data(const std::filesystem::path& file, archive* out) {
  const owned_fd in(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!in) return errno_error(errno, "open " + file.string());
  std::string piece(1 << 16, '\0');
  for (ssize_t n = 0; (n = ::read(in.get(), piece.data(), piece.size())) > 0;)
    if (archive_write_data(out, piece.data(), static_cast<std::size_t>(n)) < 0) return archive_failure(out, file);
  return {};
}

result<void> pack(const std::filesystem::path& folder, const std::filesystem::path& file) {
  writer out(archive_write_new(), &archive_write_free);
  archive_write_set_format_pax_restricted(out.get());
  if (archive_write_open_filename(out.get(), file.c_str()) != ARCHIVE_OK) return archive_failure(out.get(), file);
  reader disk(archive_read_disk_new(), &archive_read_free);
  archive_read_disk_set_symlink_physical(disk.get());
  archive_read_disk_set_standard_lookup(disk.get());
  if (archive_read_disk_open(disk.get(), folder.c_str()) != ARCHIVE_OK) return archive_failure(disk.get(), folder);
  for (;;) {
    archive_entry* entry = nullptr;
    const int got = archive_read_next_header(disk.get(), &entry);
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN) return archive_failure(disk.get(), folder);
    archive_read_disk_descend(disk.get());
    const std::filesystem::path at = archive_entry_pathname(entry);
    const auto inner = at.lexically_relative(folder);
    if (inner == ".") continue;
    archive_entry_set_pathname(entry, inner.c_str());
    if (archive_write_header(out.get(), entry) < ARCHIVE_WARN) return archive_failure(out.get(), at);
    if (archive_entry_size(entry) <= 0 || archive_entry_filetype(entry) != AE_IFREG) continue;
    if (auto copied = copy_data(at, out.get()); !copied) return copied;
  }
  if (archive_write_close(out.get()) != ARCHIVE_OK) return archive_failure(out.get(), file);
  return {};
}

}  // namespace

result<void> import_template(const engine& to, const std::filesystem::path& source, const std::string& repository,
                             const std::string& owner, const std::filesystem::path& scratch) {
  std::error_code ec;
  const std::string target = "/images/create?fromSrc=-&tag=latest&repo=" + http::encode_component(repository) +
                             "&changes=" + http::encode_component("LABEL caged.owner=" + owner);
  if (!std::filesystem::is_directory(source, ec)) return to.upload(target, source);
  const auto file = scratch / random_id("import-", 8);
  auto done = pack(source, file);
  if (done) done = to.upload(target, file);
  std::filesystem::remove(file, ec);
  return done;
}

}  // namespace caged::vmm::docker
