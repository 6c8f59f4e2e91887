#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace caged::runtime {

namespace detail {
template <class F>
auto call(F f) -> asio::awaitable<decltype(f())> {
  co_return f();
}
}  // namespace detail

template <class F>
auto on_pool(asio::any_io_executor pool, F f) -> asio::awaitable<decltype(f())> {
  co_return co_await asio::co_spawn(pool, detail::call(std::move(f)), asio::use_awaitable);
}

}  // namespace caged::runtime
