#include "core/sandbox/template_oci.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <caged/json.hpp>
#include <caged/owned_fd.hpp>
#include <cerrno>
#include <memory>

#include "core/base/file.hpp"
#include "core/sandbox/template_tree.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t most_pieces = 4096;
constexpr std::uint64_t most_bytes = 64ull << 30;
constexpr int most_nesting = 4;

struct free_archive {
  void operator()(archive* a) const noexcept { ::archive_read_free(a); }
};

error broken(const std::string& what) {
  return fail(errc::invalid_argument, "invalid_image", "the archive is no image: " + what,
              "Make it with `docker save IMAGE` or `skopeo copy … oci-archive:FILE`.", "/path");
}

std::string architecture() {
  utsname u{};
  ::uname(&u);
  const std::string machine = u.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

// The pieces of an archive by name. Names are looked up in here and used on no file system.
class pieces {
 public:
  explicit pieces(fs::path work) : work_(std::move(work)) {}

  result<void> read(const fs::path& from) {
    const std::unique_ptr<archive, free_archive> in(::archive_read_new());
    ::archive_read_support_filter_all(in.get());
    ::archive_read_support_format_tar(in.get());
    if (::archive_read_open_filename(in.get(), from.c_str(), 256 * 1024) != ARCHIVE_OK)
      return broken(::archive_error_string(in.get()));
    for (;;) {
      archive_entry* e = nullptr;
      const int rc = ::archive_read_next_header(in.get(), &e);
      if (rc == ARCHIVE_EOF) return {};
      if (rc < ARCHIVE_WARN) return broken(::archive_error_string(in.get()));
      if (files_.size() + aliases_.size() >= most_pieces) return broken("it has more than 4096 pieces");
      const char* raw = ::archive_entry_pathname(e);
      if (raw == nullptr) continue;
      const std::string name = fs::path(raw).lexically_normal().string();
      if (const char* link = ::archive_entry_hardlink(e); link != nullptr)
        aliases_[name] = fs::path(link).lexically_normal().string();
      else if (const char* to = ::archive_entry_symlink(e); to != nullptr)
        aliases_[name] = (fs::path(name).parent_path() / to).lexically_normal().string();
      else if (::archive_entry_filetype(e) == AE_IFREG)
        if (auto kept = keep(in.get(), name); !kept) return kept;
    }
  }

  bool has(const std::string& name) const { return find(name).has_value(); }

  std::optional<fs::path> find(std::string name) const {
    for (int hops = 0; hops < 8; ++hops) {
      if (const auto file = files_.find(name); file != files_.end()) return file->second;
      const auto alias = aliases_.find(name);
      if (alias == aliases_.end()) break;
      name = alias->second;
    }
    return std::nullopt;
  }

  result<json> document(const std::string& name) const {
    const auto file = find(name);
    if (!file) return broken("it lacks \"" + name + "\"");
    auto text = base::read_file(*file, 16 << 20);
    if (!text) return text.error();
    return parse_json(*text);
  }

  // The piece that a descriptor names, its content checked.
  result<fs::path> blob(const json& descriptor) const {
    const std::string digest = descriptor.at("digest").get<std::string>();
    if (digest.rfind("sha256:", 0) != 0) return broken("\"" + digest + "\" is no sha256 digest");
    const auto file = find("blobs/sha256/" + digest.substr(7));
    if (!file) return broken("it lacks the piece " + digest);
    return checked(*file, digest.substr(7));
  }

  static result<fs::path> checked(const fs::path& file, const std::string& expected) {
    const owned_fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return errno_error(errno, "read a piece of the image");
    auto sum = sha256_of(fd.get());
    if (!sum) return sum.error();
    if (*sum != expected)
      return fail(errc::invalid_argument, "layer_tampered",
                  "a piece of the image has the digest " + *sum + ", expected " + expected,
                  "It was changed or damaged: get the image again.", "/path");
    return file;
  }

 private:
  result<void> keep(archive* in, const std::string& name) {
    const fs::path file = work_ / std::to_string(files_.size());
    const owned_fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return errno_error(errno, "write a piece of the image", "Free space on the disk of the data folder.");
    std::string piece(256 * 1024, '\0');
    for (;;) {
      const la_ssize_t n = ::archive_read_data(in, piece.data(), piece.size());
      if (n < 0) return broken(::archive_error_string(in));
      if (n == 0) break;
      total_ += static_cast<std::uint64_t>(n);
      if (total_ > most_bytes) return broken("it holds more than 64 GiB");
      if (::write(fd.get(), piece.data(), static_cast<std::size_t>(n)) != n)
        return errno_error(errno, "write a piece of the image", "Free space on the disk of the data folder.");
    }
    files_[name] = file;
    return {};
  }

  fs::path work_;
  std::map<std::string, fs::path> files_;
  std::map<std::string, std::string> aliases_;
  std::uint64_t total_ = 0;
};

void take_env(const json& config, unpacked_image& out) {
  const json inner = config.value("config", json::object());
  for (const json& line : inner.is_object() ? inner.value("Env", json::array()) : json::array()) {
    const std::string text = line.get<std::string>();
    if (const auto equals = text.find('='); equals != std::string::npos && equals > 0)
      out.env[text.substr(0, equals)] = text.substr(equals + 1);
  }
}

bool is_tagged(const json& descriptor, const std::string& image) {
  const json notes = descriptor.value("annotations", json::object());
  for (const char* key : {"org.opencontainers.image.ref.name", "io.containerd.image.name"})
    if (notes.value(key, "") == image) return true;
  return false;
}

bool fits_machine(const json& descriptor) {
  const json platform = descriptor.value("platform", json::object());
  return platform.value("architecture", architecture()) == architecture() && platform.value("os", "linux") == "linux";
}

// The descriptor of the one manifest that is meant.
result<json> choose(const json& index, const std::string& image) {
  std::vector<json> fitting;
  for (const json& m : index.at("manifests"))
    if ((image.empty() || is_tagged(m, image)) && fits_machine(m)) fitting.push_back(m);
  if (fitting.empty())
    return broken(image.empty() ? "it has no image for " + architecture() : "it has no image \"" + image + "\"");
  if (fitting.size() > 1)
    return fail(errc::invalid_argument, "image_ambiguous",
                "the archive has " + std::to_string(fitting.size()) + " images", "Say which one: image: TAG.", "/image");
  return fitting.front();
}

result<unpacked_image> from_layout(const pieces& in, const std::string& image) {
  auto index = in.document("index.json");
  if (!index) return index.error();
  json at = std::move(*index);
  std::string wanted = image;
  for (int nesting = 0; at.contains("manifests"); ++nesting) {
    if (nesting == most_nesting) return broken("its indexes are nested too deeply");
    auto chosen = choose(at, wanted);
    if (!chosen) return chosen.error();
    auto file = in.blob(*chosen);
    if (!file) return file.error();
    auto text = base::read_file(*file, 16 << 20);
    if (!text) return text.error();
    auto next = parse_json(*text);
    if (!next) return next.error();
    at = std::move(*next);
    wanted.clear();  // further down are platforms, not tags
  }
  unpacked_image out;
  for (const json& layer : at.at("layers")) {
    auto file = in.blob(layer);
    if (!file) return file.error();
    out.layers.push_back(std::move(*file));
  }
  auto config = in.blob(at.at("config"));
  if (!config) return config.error();
  auto text = base::read_file(*config, 16 << 20);
  if (!text) return text.error();
  auto document = parse_json(*text);
  if (!document) return document.error();
  take_env(*document, out);
  return out;
}

result<unpacked_image> from_docker(const pieces& in, const std::string& image) {
  auto manifest = in.document("manifest.json");
  if (!manifest) return manifest.error();
  const json* chosen = nullptr;
  for (const json& one : *manifest) {
    const json tags = one.value("RepoTags", json::array());
    bool fits = image.empty();
    for (const json& tag : tags.is_array() ? tags : json::array()) fits |= tag == json(image);
    if (!fits) continue;
    if (chosen != nullptr)
      return fail(errc::invalid_argument, "image_ambiguous", "the archive has several images",
                  "Say which one: image: TAG.", "/image");
    chosen = &one;
  }
  if (chosen == nullptr) return broken("it has no image \"" + image + "\"");
  auto config = in.document(chosen->at("Config").get<std::string>());
  if (!config) return config.error();
  const json& ids = config->at("rootfs").at("diff_ids");
  unpacked_image out;
  for (const json& name : chosen->at("Layers")) {
    const auto file = in.find(fs::path(name.get<std::string>()).lexically_normal().string());
    if (!file || out.layers.size() >= ids.size()) return broken("it lacks the layer " + name.dump());
    const std::string id = ids[out.layers.size()].get<std::string>();
    auto fine = pieces::checked(*file, id.substr(id.find(':') + 1));
    if (!fine) return fine.error();
    out.layers.push_back(*file);
  }
  take_env(*config, out);
  return out;
}

}  // namespace

result<unpacked_image> unpack_image(const fs::path& archive, const std::string& image, const fs::path& work) {
  pieces in(work);
  if (auto read = in.read(archive); !read) return read.error();
  try {
    if (in.has("index.json")) return from_layout(in, image);
    return from_docker(in, image);
  } catch (const json::exception& e) {
    return broken(e.what());
  }
}

}  // namespace caged::sandbox
