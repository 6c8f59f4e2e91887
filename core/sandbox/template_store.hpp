// The built templates on disk: content-addressed, each whole or not there, looked at before it is used.
#pragma once

#include <caged/vmm_templates.hpp>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "core/sandbox/template_recipe.hpp"
#include "core/sandbox/template_tree.hpp"

namespace caged::sandbox {

struct built_template {
  std::string name, digest, key;  // key: of the recipe and what it reads
  json recipe;
  std::map<std::string, std::string> env;
  std::uint64_t bytes = 0, files = 0;
  std::int64_t built_us = 0;
};

// On disk: store/DIGEST/{root/, template.json}, names/NAME.json. Methods may be called from any thread; those that say
// so block.
class template_store {
 public:
  using progress = std::function<void(std::string step)>;

  explicit template_store(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Removes what a dead host left half built and reads the rest. Blocks.
  result<void> open();
  std::vector<built_template> list() const;
  std::optional<built_template> find(const std::string& name) const;
  // What backends are offered.
  std::vector<vmm_template> offers() const;

  // Builds, or finds that the same was built already; `fresh`: builds in any case. Nothing of a build that fails or is
  // cut short is ever used. Blocks, for minutes.
  enum class rebuild : std::uint8_t { unset = 0, when_changed, always };
  result<built_template> build(const template_recipe& recipe, rebuild when, const progress& tell);
  // Whether its files are what they were. `contents`: reads every byte; otherwise only when a look at the names shows a
  // difference. Blocks.
  result<void> check(const std::string& name, depth how_deep);
  // Forgets the name. sweep() takes the files.
  result<void> remove(const std::string& name);
  // Removes files that no name has and nobody uses. Blocks.
  void sweep(const std::set<std::string>& roots_in_use);

 private:
  std::filesystem::path root_of(const std::string& digest) const { return folder_ / "store" / digest / "root"; }
  result<std::string> key_of(const template_recipe& recipe) const;
  result<void> keep(const std::filesystem::path& making, const tree_sum& sum);
  result<void> write_name(const built_template& t);

  const std::filesystem::path folder_;
  mutable std::mutex guard_;  // never held while blocking
  std::map<std::string, built_template> names_;
  std::map<std::string, std::string> seals_;  // by digest
};

// Fills `root`, an empty folder, by the recipe; `work` is for what is needed on the way. template_build.cpp
result<void> fill_template(const template_recipe& recipe, const std::filesystem::path& root,
                           const std::filesystem::path& work, std::map<std::string, std::string>& env,
                           const template_store::progress& tell);

}  // namespace caged::sandbox
