// DNS messages as bytes: questions of a sandbox, answers of a resolver, and back. No I/O; both sides are hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/network/address.hpp"

namespace caged::network::dns {

enum record_type : std::uint16_t {
  type_a = 1,
  type_cname = 5,
  type_ptr = 12,
  type_txt = 16,
  type_aaaa = 28,
  type_srv = 33,
  type_https = 65
};
enum response_code : std::uint8_t {
  no_error = 0,
  format_error = 1,
  server_failure = 2,
  no_such_name = 3,
  not_implemented = 4,
  refused = 5
};

// "A", "AAAA" …; "TYPE257" for others.
std::string type_name(std::uint16_t type);

struct question {
  std::uint16_t id = 0;
  std::string name;  // normal form: lower case, no trailing dot
  std::uint16_t type = 0;
  bool recursion = true;
  bool extended = false;            // EDNS
  std::size_t datagram_limit = 512;  // what the asker takes over UDP
};

// A query with one question of class IN; nothing for anything else. Names of other characters than letters, digits,
// '-' and '_' are no questions of ours.
std::optional<question> parse_question(std::string_view message);
// The id of a message that is a query at all, to answer format_error with.
std::optional<std::uint16_t> query_id(std::string_view message);

struct record {
  std::string name;
  std::uint16_t type = 0;
  std::uint32_t ttl = 0;
  std::string data;    // A, AAAA: the address; TXT: as it stands; SRV: priority, weight and port
  std::string target;  // CNAME, PTR, SRV
};
ip_address address_of(const record& r);  // of A and AAAA
record address_record(std::string name, const ip_address& address, std::uint32_t ttl);

struct answer {
  response_code code = no_error;
  bool truncated = false;
  std::vector<record> records;  // of the types named above; others are left out
};

std::string encode_question(std::uint16_t id, std::string_view name, std::uint16_t type);
// Nothing when it is no answer to this question.
std::optional<answer> parse_answer(std::string_view message, std::uint16_t id, std::string_view name,
                                   std::uint16_t type);
// Cut to `limit` bytes with the truncation mark. `why` travels as an extended error to those who understand it.
std::string encode_answer(const question& q, const answer& a, std::size_t limit, std::string_view why = {});
std::string encode_error(std::uint16_t id, response_code code);

}  // namespace caged::network::dns
