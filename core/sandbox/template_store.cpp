#include "core/sandbox/template_store.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <caged/owned_fd.hpp>
#include <caged/random.hpp>
#include <cerrno>

#include "core/base/file.hpp"
#include "core/base/time.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view unfinished = ".making-";
constexpr const char* free_space = "Free space on the disk of the data folder.";

json stored(const built_template& t) {
  return {{"name", t.name},   {"digest", t.digest}, {"key", t.key},          {"recipe", t.recipe},
          {"env", t.env},     {"bytes", t.bytes},   {"files", t.files},      {"built_us", t.built_us}};
}

built_template restored(const json& d) {
  built_template t;
  t.name = d.at("name").get<std::string>();
  t.digest = d.at("digest").get<std::string>();
  t.key = d.at("key").get<std::string>();
  t.recipe = d.at("recipe");
  t.env = d.at("env").get<std::map<std::string, std::string>>();
  t.bytes = d.at("bytes").get<std::uint64_t>();
  t.files = d.at("files").get<std::uint64_t>();
  t.built_us = d.at("built_us").get<std::int64_t>();
  return t;
}

error missing(const std::string& name) {
  return fail(errc::not_found, "template_not_found", "there is no built template \"" + name + "\"",
              "List them: `caged template list`; build it: `caged template build " + name + "`.", "/template");
}

result<owned_fd> open_folder(const fs::path& path) {
  owned_fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open the folder " + path.string());
  return fd;
}

// Removed whatever happens: what a build needs on the way, and what became of one that failed.
struct making_folder {
  explicit making_folder(fs::path p) : path(std::move(p)) {}
  making_folder(const making_folder&) = delete;
  making_folder& operator=(const making_folder&) = delete;
  ~making_folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

}  // namespace

result<void> template_store::open() {
  for (const char* part : {"store", "names"})
    if (auto made = base::make_folder(folder_ / part); !made) return made;
  std::error_code ec;
  std::vector<fs::path> dead;
  for (const auto& e : fs::directory_iterator(folder_, ec))
    if (e.path().filename().string().rfind(unfinished, 0) == 0) dead.push_back(e.path());
  for (const auto& path : dead) fs::remove_all(path, ec);
  for (const auto& e : fs::directory_iterator(folder_ / "names", ec)) {
    if (e.path().extension() != ".json") continue;
    auto text = base::read_file(e.path());
    if (!text) continue;
    try {
      built_template t = restored(json::parse(*text));
      auto about = base::read_file(folder_ / "store" / t.digest / "template.json");
      if (about) seals_[t.digest] = json::parse(*about).at("seal").get<std::string>();
      names_[t.name] = std::move(t);
    } catch (const json::exception&) {
      // A name whose file cannot be read is no template; building it again writes the file anew.
    }
  }
  return {};
}

std::vector<built_template> template_store::list() const {
  const std::lock_guard lock(guard_);
  std::vector<built_template> out;
  for (const auto& [name, t] : names_) out.push_back(t);
  return out;
}

std::optional<built_template> template_store::find(const std::string& name) const {
  const std::lock_guard lock(guard_);
  const auto found = names_.find(name);
  if (found == names_.end()) return std::nullopt;
  return found->second;
}

std::vector<vmm_template> template_store::offers() const {
  std::vector<vmm_template> out;
  for (const auto& t : list()) {
    std::error_code ec;
    if (fs::is_directory(root_of(t.digest), ec)) out.push_back({t.name, t.digest, root_of(t.digest)});
  }
  return out;
}

result<std::string> template_store::key_of(const template_recipe& r) const {
  json what = to_json(r);
  what.erase("description");
  what.erase("name");
  what.erase("derived");
  if (r.from == template_recipe::source::oci) {
    const owned_fd file(::open(r.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
      return fail(errc::not_found, "archive_not_found", "the archive " + r.path.string() + " cannot be read",
                  "Correct path: it is a file on the server.", "/path");
    auto sum = sha256_of(file.get());
    if (!sum) return sum.error();
    what["path"] = *sum;
  }
  return sha256_hex(to_text(what));
}

result<built_template> template_store::build(const template_recipe& recipe, rebuild when, const progress& tell) {
  auto key = key_of(recipe);
  if (!key) return key.error();
  if (when == rebuild::when_changed && recipe.from != template_recipe::source::folder) {
    for (const auto& t : list()) {
      if (t.key != *key || !check(t.name, depth::names)) continue;
      built_template same = t;
      same.name = recipe.name;
      same.recipe = to_json(recipe);
      if (same.name != t.name)
        if (auto named = write_name(same); !named) return named.error();
      return same;
    }
  }
  const making_folder making(folder_ / (std::string(unfinished) + random_id("", 12)));
  for (const auto& path : {making.path, making.path / "work", making.path / "entry", making.path / "entry" / "root"})
    if (auto made = base::make_folder(path); !made) return made.error();
  built_template t;
  const fs::path root = making.path / "entry" / "root";
  if (auto filled = fill_template(recipe, root, making.path / "work", t.env, tell); !filled) return filled.error();
  tell("making it the same every time");
  auto top = open_folder(root);
  if (!top) return top.error();
  if (::fchmod(top->get(), 0755) != 0) return errno_error(errno, "set the mode of the template");
  if (auto settled = settle_tree(top->get(), recipe.epoch); !settled) return settled.error();
  tell("taking its digest");
  auto sum = sum_tree(top->get(), depth::contents);
  if (!sum) return sum.error();
  if (::syncfs(top->get()) != 0) return errno_error(errno, "write the template to the disk", free_space);
  if (auto kept = keep(making.path / "entry", *sum); !kept) return kept.error();
  t.name = recipe.name;
  t.digest = sum->digest;
  t.key = *key;
  t.recipe = to_json(recipe);
  t.bytes = sum->bytes;
  t.files = sum->files;
  t.built_us = base::now_us();
  if (auto named = write_name(t); !named) return named.error();
  return t;
}

// A copy that is whole stays: boxes may lie on it. One that was tampered with makes way.
result<void> template_store::keep(const fs::path& making, const tree_sum& sum) {
  const fs::path place = folder_ / "store" / sum.digest;
  if (auto top = open_folder(place / "root")) {
    auto there = sum_tree(top->get(), depth::contents);
    if (there && there->digest == sum.digest) {
      if (auto written = base::write_file(place / "template.json", to_text({{"seal", there->seal}}) + "\n"); !written)
        return written;
      const std::lock_guard lock(guard_);
      seals_[sum.digest] = there->seal;
      return {};
    }
  }
  std::error_code ec;
  if (fs::exists(place, ec)) {
    fs::rename(place, folder_ / (std::string(unfinished) + random_id("", 12)), ec);
    if (ec) return errno_error(ec.value(), "move a damaged template away");
  }
  if (auto written = base::write_file(making / "template.json", to_text({{"seal", sum.seal}}) + "\n"); !written)
    return written;
  fs::rename(making, place, ec);
  if (ec) return errno_error(ec.value(), "put the template in place");
  const std::lock_guard lock(guard_);
  seals_[sum.digest] = sum.seal;
  return {};
}

result<void> template_store::write_name(const built_template& t) {
  if (auto written = base::write_file(folder_ / "names" / (t.name + ".json"), to_text(stored(t)) + "\n"); !written)
    return written;
  const std::lock_guard lock(guard_);
  names_[t.name] = t;
  return {};
}

result<void> template_store::check(const std::string& name, depth how_deep) {
  const auto t = find(name);
  if (!t) return missing(name);
  auto top = open_folder(root_of(t->digest));
  if (!top)
    return fail(errc::unavailable, "template_missing", "the files of the template \"" + name + "\" are gone",
                "Build it again: `caged template build " + name + "`.", "/template");
  std::string seal;
  {
    const std::lock_guard lock(guard_);
    seal = seals_[t->digest];
  }
  if (how_deep == depth::names) {
    auto seen = sum_tree(top->get(), depth::names);
    if (seen && seen->seal == seal) return {};
  }
  auto read = sum_tree(top->get(), depth::contents);
  if (!read) return read.error();
  if (read->digest != t->digest)
    return fail(errc::unavailable, "template_tampered",
                "the files of the template \"" + name + "\" have the digest " + read->digest + ", expected " + t->digest,
                "Somebody has changed them. Build it again: `caged template build " + name + " --fresh`.", "/template");
  if (read->seal == seal) return {};
  // The same content in other files: the data folder was copied or restored.
  (void)base::write_file(folder_ / "store" / t->digest / "template.json", to_text({{"seal", read->seal}}) + "\n");
  const std::lock_guard lock(guard_);
  seals_[t->digest] = read->seal;
  return {};
}

result<void> template_store::remove(const std::string& name) {
  if (!find(name)) return missing(name);
  std::error_code ec;
  fs::remove(folder_ / "names" / (name + ".json"), ec);
  if (ec) return errno_error(ec.value(), "remove the template's name");
  const std::lock_guard lock(guard_);
  names_.erase(name);
  return {};
}

void template_store::sweep(const std::set<std::string>& roots_in_use) {
  std::set<std::string> named;
  for (const auto& t : list()) named.insert(t.digest);
  std::error_code ec;
  std::vector<fs::path> old;
  for (const auto& e : fs::directory_iterator(folder_ / "store", ec)) {
    const std::string digest = e.path().filename();
    if (!named.contains(digest) && !roots_in_use.contains(root_of(digest))) old.push_back(e.path());
  }
  for (const auto& path : old) {
    const fs::path gone = folder_ / (std::string(unfinished) + random_id("", 12));
    fs::rename(path, gone, ec);
    if (!ec) fs::remove_all(gone, ec);
  }
}

}  // namespace caged::sandbox
