// Whether a webhook is Stripe's: its signature, its age.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace caged::billing::stripe {

// `header` is Stripe-Signature: "t=SECONDS,v1=HEX,…"; one v1 of several must be the HMAC-SHA256 of "SECONDS.body". Older
// or newer than five minutes is refused: a recorded request cannot be played again. Constant time in the signature.
result<void> check_signature(std::string_view header, std::string_view body, const std::string& secret,
                             std::int64_t now_seconds);

}  // namespace caged::billing::stripe
