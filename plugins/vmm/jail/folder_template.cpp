// Templates that lie in a folder of their own: every folder at its top becomes a layer, so that a box of it is made, copied
// and compared like one of the host's.
#include "host_template.hpp"

#include <algorithm>

namespace caged::vmm::jail {
namespace {

namespace fs = std::filesystem;

// Where the box has its own, always.
constexpr const char* never[] = {"proc", "sys", "dev", "run", "tmp", "lost+found"};

bool plain(const std::string& name) {
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
         std::string::npos;
}

}  // namespace

result<host_template> folder_template(const fs::path& root) {
  host_template out;
  out.own_folders = false;
  std::error_code ec;
  std::vector<fs::directory_entry> entries;
  for (const auto& e : fs::directory_iterator(root, ec)) entries.push_back(e);
  if (ec)
    return fail(errc::unavailable, "template_missing",
                "the template's folder " + root.string() + " cannot be read: " + ec.message(),
                "Build the template again: `caged template build NAME --fresh`.", "/template");
  std::sort(entries.begin(), entries.end());
  for (const auto& e : entries) {
    const std::string name = e.path().filename();
    if (std::find(std::begin(never), std::end(never), name) != std::end(never)) continue;
    if (e.is_symlink(ec))
      out.links.emplace_back(name, fs::read_symlink(e.path(), ec).string());
    else if (e.is_directory(ec) && (name == "etc" || !fs::is_empty(e.path(), ec)))
      out.layers.push_back({e.path().string(), name, plain(name) ? name : "top-" + std::to_string(out.layers.size())});
  }
  const bool whole = std::any_of(out.layers.begin(), out.layers.end(), [](const layer& l) { return l.target == "etc"; });
  if (!whole)
    return fail(errc::invalid_argument, "template_incomplete", "the template in " + root.string() + " has no /etc",
                "Build it from a whole root file system.", "/template");
  return out;
}

}  // namespace caged::vmm::jail
