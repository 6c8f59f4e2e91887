// What must be equal between the host and a plugin before C++ may cross between them, as one line of text.
#pragma once

#include <boost/version.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The version of the SDK these headers belong to.
#define CAGED_SDK_VERSION "0.1.0"

#define CAGED_FP_STRING_(x) #x
#define CAGED_FP_STRING(x) CAGED_FP_STRING_(x)

#if defined(__clang__)
#define CAGED_FP_COMPILER "clang-" CAGED_FP_STRING(__clang_major__)
#elif defined(__GNUC__)
#define CAGED_FP_COMPILER "gcc-" CAGED_FP_STRING(__GNUC__)
#else
#define CAGED_FP_COMPILER "unknown"
#endif

#if defined(_GLIBCXX_DEBUG)
#define CAGED_FP_STDLIB_MODE "+debug"
#else
#define CAGED_FP_STDLIB_MODE ""
#endif
#if defined(_LIBCPP_VERSION)
#define CAGED_FP_STDLIB "libc++-" CAGED_FP_STRING(_LIBCPP_VERSION)
#elif defined(_GLIBCXX_RELEASE)
#define CAGED_FP_STDLIB                                                                              \
  "libstdc++-" CAGED_FP_STRING(_GLIBCXX_RELEASE) "-cxx11abi" CAGED_FP_STRING(_GLIBCXX_USE_CXX11_ABI) \
      CAGED_FP_STDLIB_MODE
#else
#define CAGED_FP_STDLIB "unknown"
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAGED_FP_SANITIZER "asan"
#elif __has_feature(thread_sanitizer)
#define CAGED_FP_SANITIZER "tsan"
#endif
#endif
#if !defined(CAGED_FP_SANITIZER) && defined(__SANITIZE_ADDRESS__)
#define CAGED_FP_SANITIZER "asan"
#elif !defined(CAGED_FP_SANITIZER) && defined(__SANITIZE_THREAD__)
#define CAGED_FP_SANITIZER "tsan"
#elif !defined(CAGED_FP_SANITIZER)
#define CAGED_FP_SANITIZER "none"
#endif

// A header-only Asio on one side splits its statics; a JSON type with other switches has other overloads.
#if defined(BOOST_ASIO_SEPARATE_COMPILATION) && defined(BOOST_ASIO_DYN_LINK)
#define CAGED_FP_ASIO "shared"
#else
#define CAGED_FP_ASIO "header-only"
#endif
#define CAGED_FP_CXX CAGED_FP_STRING(__cplusplus)
#define CAGED_FP_JSON                          \
  CAGED_FP_STRING(NLOHMANN_JSON_VERSION_MAJOR) \
  "." CAGED_FP_STRING(NLOHMANN_JSON_VERSION_MINOR) "." CAGED_FP_STRING(NLOHMANN_JSON_VERSION_PATCH)

// The fingerprint of the translation unit that says it.
#define CAGED_FINGERPRINT                                                                                 \
  "sdk=" CAGED_SDK_VERSION ";cxx=" CAGED_FP_CXX ";compiler=" CAGED_FP_COMPILER ";stdlib=" CAGED_FP_STDLIB \
  ";boost=" BOOST_LIB_VERSION ";asio=" CAGED_FP_ASIO ";json=" CAGED_FP_JSON ";sanitizer=" CAGED_FP_SANITIZER

namespace caged {

// What libcaged-sdk.so itself was compiled with: the measure for every plugin.
std::string_view sdk_fingerprint() noexcept;

// One piece in which two fingerprints differ. `found` is "" when the piece is absent.
struct fingerprint_difference {
  std::string piece;     // "compiler"
  std::string found;     // the plugin's
  std::string expected;  // the host's
  std::string message;   // one sentence for people
  std::string action;    // what to do about it
};

// All pieces of `found` that differ from `expected`, in the order of `expected`; pieces that `expected` does not have
// come last and differ too.
std::vector<fingerprint_difference> compare_fingerprints(std::string_view found, std::string_view expected);

}  // namespace caged
