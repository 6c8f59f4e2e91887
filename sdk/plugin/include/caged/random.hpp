// Random identifiers and secrets, from the kernel.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace caged {

// Fills with getrandom(2). Never fails on a kernel that Caged runs on; aborts the process otherwise.
void random_bytes(std::span<std::byte> out);

// prefix + `length` characters of [a-z0-9], unbiased. Used for ids: random_id("cage-", 12).
std::string random_id(std::string_view prefix, std::size_t length);

// prefix + 2*`bytes` lowercase hex characters. Used for secrets: random_hex("caged_sk_", 32).
std::string random_hex(std::string_view prefix, std::size_t bytes);

// Equal without a data-dependent branch; different lengths compare unequal at once.
bool equal_constant_time(std::string_view a, std::string_view b) noexcept;

// SHA-256 of the bytes, as 64 lowercase hex characters.
std::string sha256_hex(std::string_view bytes);

}  // namespace caged
