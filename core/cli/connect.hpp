// caged connect: this terminal as a terminal of the sandbox.
#pragma once

#include <core/cli/session.hpp>

namespace caged::cli {

struct connect_options {
  std::string id;
  std::string session_id;  // a terminal to come back to; "" = a new one
  std::string command;     // "" = a login shell
  bool list = false;
};

// Raw mode until the shell ends, the server closes, Ctrl-] is typed or a signal arrives; the terminal is restored on
// every way out. Answers the shell's exit code, 0 when detached.
result<int> perform_connect(session& s, const connect_options& options);

// The bytes before the detach key (Ctrl-], 0x1d), and whether it was among them. Pure.
struct typed {
  std::string_view bytes;
  enum class key : std::uint8_t { unset = 0, none, detach } end = key::none;
};
typed split_at_detach(std::string_view bytes);

}  // namespace caged::cli
