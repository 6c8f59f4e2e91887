// Feeds arbitrary bytes, cut arbitrarily, through the decoder, the joiner, the parser and the handshake.
#include <caged/wire/credit.hpp>
#include <caged/wire/frame.hpp>
#include <caged/wire/message.hpp>

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace caged::wire;
  decoder d;
  message_joiner joiner;
  receive_window window;
  std::string text;
  for (std::size_t at = 0; at < size;) {
    const auto room = d.prepare();
    if (room.empty()) std::abort();
    const std::size_t n = std::min({room.size(), size - at, static_cast<std::size_t>(data[at] + 1)});
    std::copy_n(reinterpret_cast<const char*>(data) + at, n, room.data());
    d.commit(n);
    at += n;
    frame f;
    decoder::status s;
    while ((s = d.next(f)) == decoder::status::ready) {
      if (f.payload.size() > max_payload) std::abort();
      credit_of(f.payload);
      if (window.receive(f.payload.size())) window.consume(f.payload.size());
      if (!joiner.add(f, text)) continue;
      const auto message = parse(text);
      if (!message) continue;
      to_text(*message);
      failure_from(*message);
      try {
        agree(*message);
      } catch (const failed&) {
      }
    }
    if (d.capacity() > 2 * max_frame + (128u << 10)) std::abort();
    if (s == decoder::status::broken) return 0;
  }
  return 0;
}
