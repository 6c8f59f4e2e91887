// The revisions of MCP that are served, and which features each has.
#pragma once

#include <cstdint>
#include <string_view>

namespace caged::mcp {

// In order of time, so that "has it" is a comparison.
enum class revision : std::uint8_t { unset = 0, v2024_11_05, v2025_03_26, v2025_06_18, v2025_11_25, v2026_07_28 };

inline constexpr revision newest_legacy = revision::v2025_11_25;
inline constexpr revision newest = revision::v2026_07_28;

constexpr std::string_view name_of(revision r) noexcept {
  switch (r) {
    case revision::v2024_11_05:
      return "2024-11-05";
    case revision::v2025_03_26:
      return "2025-03-26";
    case revision::v2025_06_18:
      return "2025-06-18";
    case revision::v2025_11_25:
      return "2025-11-25";
    case revision::v2026_07_28:
      return "2026-07-28";
    case revision::unset:
      break;
  }
  return "";
}

// unset for a name that is not served.
constexpr revision revision_of(std::string_view name) noexcept {
  for (const revision r : {revision::v2024_11_05, revision::v2025_03_26, revision::v2025_06_18, revision::v2025_11_25,
                           revision::v2026_07_28})
    if (name_of(r) == name) return r;
  return revision::unset;
}

constexpr bool modern(revision r) noexcept { return r >= revision::v2026_07_28; }
constexpr bool has_annotations(revision r) noexcept { return r >= revision::v2025_03_26; }
constexpr bool has_progress_message(revision r) noexcept { return r >= revision::v2025_03_26; }
constexpr bool has_batches(revision r) noexcept { return r == revision::v2025_03_26; }
constexpr bool has_titles(revision r) noexcept { return r >= revision::v2025_06_18; }
constexpr bool has_audio(revision r) noexcept { return r >= revision::v2025_03_26; }
constexpr bool has_resource_links(revision r) noexcept { return r >= revision::v2025_06_18; }
constexpr bool has_icons(revision r) noexcept { return r >= revision::v2025_11_25; }
constexpr bool has_priming_event(revision r) noexcept { return r >= revision::v2025_11_25; }
constexpr bool has_structured_output(revision r) noexcept { return r >= revision::v2025_06_18; }
// Arguments that do not fit are a tool's error that the model reads, and no longer a protocol error.
constexpr bool has_bad_arguments_as_result(revision r) noexcept { return r >= revision::v2025_11_25; }

}  // namespace caged::mcp
