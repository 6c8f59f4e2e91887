// ClientHellos for tests, with the extensions one wants.
#pragma once

#include <string>
#include <string_view>

namespace caged::network::test {

inline std::string sized(unsigned length_bytes, std::string_view body) {
  std::string out;
  for (unsigned i = length_bytes; i-- > 0;) out.push_back(static_cast<char>(body.size() >> (8 * i) & 0xff));
  return out + std::string(body);
}
inline std::string extension(unsigned type, std::string_view body) {
  return std::string{static_cast<char>(type >> 8), static_cast<char>(type & 0xff)} + sized(2, body);
}
inline std::string server_name(std::string_view name) {
  return extension(0, sized(2, std::string(1, '\0') + sized(2, name)));
}
inline std::string record(std::string_view fragment, char type = 0x16) {
  return std::string{type, 0x03, 0x01} + sized(2, fragment);
}
inline std::string handshake(std::string_view extensions) {
  const std::string body = std::string("\x03\x03", 2) + std::string(32, 'r') + sized(1, "") +
                           sized(2, std::string("\x13\x01", 2)) + sized(1, std::string(1, '\0')) + sized(2, extensions);
  return std::string(1, '\x01') + sized(3, body);
}
inline std::string hello(std::string_view extensions) { return record(handshake(extensions)); }

}  // namespace caged::network::test
