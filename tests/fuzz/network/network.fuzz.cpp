// What a sandbox and a resolver can say to the egress plane: first bytes, requests, DNS both ways, host patterns.
#include <cstdint>
#include <cstdlib>

#include "core/network/dns_message.hpp"
#include "core/network/resolver.hpp"
#include "core/network/rules.hpp"
#include "core/network/sniff.hpp"

namespace {

using namespace caged::network;

void must(bool holds) {
  if (!holds) std::abort();
}

// What was told with few bytes stays told with more: nobody may change a verdict by sending slowly.
void first_bytes(std::string_view bytes) {
  const auto whole = sniff(bytes);
  for (std::size_t n = 1; n < bytes.size(); n += 1 + n / 8) {
    const auto part = sniff(bytes.substr(0, n));
    if (part.what == sniffed::kind::need_more || part.what == sniffed::kind::malformed) continue;
    must(part.what == whole.what && part.name == whole.name);
  }
}

// Requests are the same ones however they are cut, and no byte passes before its request was judged.
std::string hosts_of(std::string_view bytes, std::size_t size) {
  request_stream stream;
  std::string buffer, hosts;
  while (true) {
    const auto step = stream.next(buffer);
    if (step.what == request_stream::step::kind::malformed) return hosts + "!";
    if (step.what == request_stream::step::kind::judge) {
      hosts += step.head.host + " ";
      stream.allow();
    } else if (step.what == request_stream::step::kind::forward) {
      must(step.count > 0 && step.count <= buffer.size() && !hosts.empty());
      buffer.erase(0, step.count);
    } else {
      if (bytes.empty()) return hosts;
      buffer += bytes.substr(0, size);
      bytes.remove_prefix(std::min(size, bytes.size()));
    }
  }
}

void dns_both_ways(std::string_view bytes) {
  if (const auto q = dns::parse_question(bytes)) {
    must(normal_name(q->name) == q->name);
    const auto again = dns::parse_question(dns::encode_question(q->id, q->name, q->type));
    must(again && again->name == q->name && again->type == q->type);
  }
  if (bytes.size() < 2) return;
  const auto id = static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[0]) << 8 | static_cast<unsigned char>(bytes[1]));
  for (const auto type : {dns::type_a, dns::type_aaaa, dns::type_txt, dns::type_srv}) {
    const auto a = dns::parse_answer(bytes, id, "good.example", type);
    if (!a) continue;
    for (const auto& address : addresses_in(*a, "good.example")) class_of(address);
    dns::question q;
    q.name = "good.example";
    q.type = type;
    must(dns::encode_answer(q, *a, 512).size() <= 512);
  }
}

void patterns(std::string_view bytes) {
  const auto p = host_pattern::parse(bytes);
  if (!p) return;
  must(!p->matches_name("com", 443) && !(p->matches_name("a.com", 443) && p->matches_name("b.com", 443)));
  must(!(p->covers_address(*parse_address("1.1.1.1")) && p->covers_address(*parse_address("223.1.1.1")) &&
         p->covers_address(*parse_address("128.1.1.1")) && p->covers_address(*parse_address("64.1.1.1")) && bytes.find("/0") != bytes.npos));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      first_bytes(bytes);
      break;
    case 1:
      hosts_of(bytes, 4096);
      hosts_of(bytes, 1);
      break;
    case 2:
      dns_both_ways(bytes);
      break;
    default:
      patterns(bytes);
  }
  return 0;
}
