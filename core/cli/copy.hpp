// caged cp: files and folders into a sandbox and out of it.
#pragma once

#include <core/cli/arguments.hpp>
#include <core/cli/session.hpp>

namespace caged::cli {

// One side is ID:PATH. A file is streamed, whatever its size, and keeps its mode; a folder travels as a tar stream
// through `tar` in the sandbox. What comes out of a sandbox is not trusted: nothing is written outside the target, no
// device, no owner, no set-id bit.
result<int> perform_copy(session& s, const copy_place& from, const copy_place& to);

}  // namespace caged::cli
