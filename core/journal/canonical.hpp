// The exact bytes a link of the hash chain is computed over, and events as JSON. docs/journal.md is their
 // specification.
#pragma once

#include <caged/event.hpp>
#include <string>
#include <string_view>

namespace caged::journal {

// The hash before a session's first event: 64 zeros.
extern const std::string genesis_hash;

// Makes `data` survive being written and read again unchanged: what is not UTF-8 becomes U+FFFD. Cheap for good data.
void normalise(json& data);

// The compact JSON array ["caged.event.1", previous hash, id, session, sequence, sandbox, type, time_us, duration_us,
// data], in UTF-8. The event is normalised.
std::string canonical_text(const event& e, std::string_view previous_hash);

// SHA-256 in lowercase hex.
std::string hash_text(std::string_view text);

// hash_text(canonical_text(…)).
std::string link_hash(const event& e, std::string_view previous_hash);

// An event as every API shows it.
json to_json(const event& e);

}  // namespace caged::journal
