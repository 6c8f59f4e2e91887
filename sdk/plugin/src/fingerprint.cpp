#include <caged/fingerprint.hpp>

#include <algorithm>

namespace caged {
namespace {

using pieces = std::vector<std::pair<std::string, std::string>>;

pieces split(std::string_view text) {
  pieces out;
  while (!text.empty()) {
    const auto end = text.find(';');
    const std::string_view piece = text.substr(0, end);
    const auto equals = piece.find('=');
    if (!piece.empty()) {
      out.emplace_back(std::string(piece.substr(0, equals)),
                       equals == std::string_view::npos ? std::string() : std::string(piece.substr(equals + 1)));
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

const std::string* value_of(const pieces& all, const std::string& name) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.first == name; });
  return it == all.end() ? nullptr : &it->second;
}

struct wording {
  std::string_view piece;
  std::string_view title;
  std::string_view action;  // %s is the expected value
};

constexpr wording words[] = {
    {"sdk", "SDK version", "Build the plugin against caged-sdk %s, the version of this host."},
    {"cxx", "C++ standard", "Compile the plugin with the C++ standard %s (C++20: -std=c++20)."},
    {"compiler", "compiler", "Compile the plugin with %s, or build the host with the plugin's compiler."},
    {"stdlib", "standard library", "Compile the plugin against %s (remove -stdlib, -D_GLIBCXX_DEBUG and the like)."},
    {"boost", "Boost version", "Build the plugin with Boost %s, the version the host uses."},
    {"asio", "Asio linkage", "Link the plugin with the CMake target caged::sdk, which makes Asio \"%s\"."},
    {"json", "nlohmann-json version", "Build the plugin with nlohmann-json %s, the version the host uses."},
    {"sanitizer", "sanitizer", "Compile the plugin with the host's sanitizer setting: %s."},
};

fingerprint_difference difference(const std::string& piece, std::string found, std::string expected) {
  std::string title = piece;
  std::string action = "Rebuild the plugin with the SDK of this host.";
  for (const wording& w : words) {
    if (w.piece != piece) continue;
    title = w.title;
    action = w.action;
    if (const auto at = action.find("%s"); at != std::string::npos) action.replace(at, 2, expected);
  }
  fingerprint_difference d;
  d.message = "the " + title + " differs: found " + (found.empty() ? "nothing" : "\"" + found + "\"") + ", expected " +
              (expected.empty() ? "nothing" : "\"" + expected + "\"");
  d.piece = piece;
  d.found = std::move(found);
  d.expected = std::move(expected);
  d.action = std::move(action);
  return d;
}

}  // namespace

std::string_view sdk_fingerprint() noexcept { return CAGED_FINGERPRINT; }

std::vector<fingerprint_difference> compare_fingerprints(std::string_view found, std::string_view expected) {
  const pieces theirs = split(found);
  const pieces ours = split(expected);
  std::vector<fingerprint_difference> out;
  for (const auto& [name, value] : ours) {
    const std::string* other = value_of(theirs, name);
    if (other == nullptr || *other != value) out.push_back(difference(name, other ? *other : std::string(), value));
  }
  for (const auto& [name, value] : theirs)
    if (value_of(ours, name) == nullptr) out.push_back(difference(name, value, std::string()));
  return out;
}

}  // namespace caged
