// Standard base64 (RFC 4648 section 4, with padding).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace caged {

std::string base64_encode(std::string_view bytes);
// nullopt for anything but whole, padded base64; no blanks, no line ends.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace caged
