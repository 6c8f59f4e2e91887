// Talking to a process over a duplex connection: the frames of the exec and terminal WebSockets.
#pragma once

#include <caged/streams.hpp>
#include <functional>
#include <memory>
#include <string>

#include "core/sandbox/agent_client.hpp"

namespace caged::operation {

struct talk_options {
  enum class output_form : std::uint8_t { unset = 0, tagged, binary, text } output = output_form::tagged;
  std::string greeting;       // text frame sent first; "" = none
  std::function<void(std::string_view)> heard;  // told all output, as it comes; may be empty
};

// Client frames: binary = stdin; text {"type":"stdin"|"input","data"}, {"type":"stdin_close"},
// {"type":"signal","signal"},
// {"type":"resize","rows","cols"}, {"type":"ping"} (→ pong). Output frames by form: tagged = binary, first byte 1
// (stdout) or 2 (stderr); binary = bytes; text = {"type":"output","data"}, UTF-8 split only between characters. Ends
// with {"type":"exit",…}. Returns the agent's exit, or null when the client left first: the process then goes on.
task<json> talk(std::shared_ptr<duplex> client, std::shared_ptr<sandbox::agent_client> agent,
                std::shared_ptr<sandbox::agent_process> process, talk_options how);

// Bytes that are at hand already, as a source.
std::shared_ptr<byte_source> source_of(std::string bytes);

}  // namespace caged::operation
