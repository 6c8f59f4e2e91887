// result<T>: a value or a caged::error. Exceptions are for lost infrastructure and bugs only.
#pragma once

#include <boost/system/result.hpp>
#include <caged/error.hpp>
#include <stdexcept>
#include <utility>

namespace caged {

template <class T>
using result = boost::system::result<T, error>;

// What result<T>::value() throws when it holds an error: a bug in the caller, who should have looked.
struct bad_result : std::runtime_error {
  explicit bad_result(const error& e) : std::runtime_error(describe(e)), failure(e) {}
  error failure;
};

// Found by argument-dependent lookup from boost::system::result.
[[noreturn]] inline void throw_exception_from_error(const error& e, const boost::source_location&) {
  throw bad_result(e);
}

// Makes an error in one expression: fail(errc::not_found, "x_not_found", "…", "…").
inline error fail(errc code, std::string reason, std::string message, std::string action = {}, std::string path = {}) {
  return error{code, std::move(reason), std::move(message), std::move(action), std::move(path)};
}

// errno as an error: ENOENT → not_found, EACCES/EPERM → permission_denied, ENOSPC/EDQUOT → insufficient_storage …
// `what` says what was tried, e.g. "open /x".
error errno_error(int err, std::string_view what, std::string action = {});

}  // namespace caged
