// Which Caged this is.
#pragma once

#include <string_view>

namespace caged::base {

std::string_view version() noexcept;      // "0.1.0"
std::string_view description() noexcept;  // one line, for --version

}  // namespace caged::base
