// Makes the storage checks a contract suite.
#include <caged/testing/contract.hpp>

#include "sdk/testing/storage_contract.hpp"

namespace caged::testing {
namespace {

template <std::size_t Index>
void run_check(contract_context& c) {
  storage_probe probe(c.host().executor(), c.interface<storage>(), [&c]() -> storage& {
    c.reopen();
    return c.interface<storage>();
  });
  storage_checks()[Index].run(probe);
  for (const std::string& failure : probe.failures) c.expect(false, failure);
}

// As many functions as there may be checks; a check is told from the next only by its place.
template <std::size_t... Index>
std::vector<check> numbered(std::index_sequence<Index...>) {
  std::vector<check> out = {{nullptr, &run_check<Index>}...};
  const auto& checks = storage_checks();
  if (checks.size() > out.size()) throw std::logic_error("storage_suite.cpp has room for fewer checks than there are");
  out.resize(checks.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i].name = checks[i].name;
  return out;
}

const suite storage_suite("storage", numbered(std::make_index_sequence<64>()));

}  // namespace
}  // namespace caged::testing
