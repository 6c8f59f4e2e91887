// Force-included into the agent's code: keeps the standard library's bounds checks, without the texts they would print.
// With them the static agent is some 50 KiB bigger, and it has nobody to print to: a failed check traps.
#pragma once

#include <cstddef>

#ifdef __glibcxx_assert_impl
#undef __glibcxx_assert_impl
#define __glibcxx_assert_impl(condition) \
  do {                                   \
    if (!(condition)) __builtin_trap();  \
  } while (false)
#endif
