// task<T>: the coroutine type of every interface. Parameters are taken by value; no capturing lambda coroutines.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <caged/result.hpp>

namespace caged {

namespace asio = boost::asio;

template <class T>
using task = asio::awaitable<result<T>>;

// Completion token for leaf I/O: no exception for an expected failure; yields (error_code, values…).
inline constexpr auto use_tuple = asio::as_tuple(asio::use_awaitable);

}  // namespace caged
