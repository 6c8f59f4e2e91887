// Path patterns: *, ?, [a-z], {a,b} within a name, ** across folders; and .gitignore rules made of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace caged::agent {

// One name against one pattern without "/". Linear in their product.
bool match_name(std::string_view pattern, std::string_view name);

class path_pattern {
 public:
  // Braces are expanded, at most to 64 alternatives. Throws a failure for a pattern that is too long or too wide.
  explicit path_pattern(const std::string& pattern);
  bool matches(const std::string& relative_path) const;

 private:
  std::vector<std::vector<std::string>> alternatives_;  // each split at "/"
};

// The rules of the .gitignore files from the root of a walk down to one folder.
class ignore_rules {
 public:
  // Adds the rules of `text`, the .gitignore of `folder` ("" is the root of the walk).
  void add(const std::string& folder, std::string_view text);
  enum class verdict : std::uint8_t { unset = 0, ignored, kept };
  verdict judge(const std::string& relative_path, bool folder) const;
  std::size_t size() const noexcept { return rules_.size(); }
  void shrink(std::size_t size) { rules_.resize(size); }  // leaving a folder takes its rules away

 private:
  struct rule {
    std::string base;
    std::vector<std::string> segments;
    bool negated, folders_only, anchored;
  };
  std::vector<rule> rules_;
};

}  // namespace caged::agent
