// Where things lie on this machine.
#pragma once

#include <filesystem>

namespace caged::base {

// $CAGED_DATA when set; /var/lib/caged for root; $XDG_DATA_HOME/caged or ~/.local/share/caged for others. An XDG value
// that is not absolute is ignored, as its specification says. Nothing is created.
std::filesystem::path default_data_dir();

// The user's home: $HOME, else the password database, else "/".
std::filesystem::path home_dir();

// The folder of the running program, symbolic links resolved.
std::filesystem::path program_dir();

}  // namespace caged::base
