#include <caged/define_plugin.hpp>

#include "provider.hpp"

namespace caged::billing::stripe {

CAGED_PLUGIN(provider, .summary = "Bills usage and subscriptions through Stripe.", .offers = CAGED_OFFERS_ROUTES,
             .needs = CAGED_NEEDS_STORAGE | CAGED_NEEDS_HTTP_FRONT)

}  // namespace caged::billing::stripe
