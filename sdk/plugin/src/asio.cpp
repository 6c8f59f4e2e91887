// The one place that compiles Asio and Beast (their separate-compilation sources). Asio's statics must exist once in a
// process; a second copy in a plugin would split them and fail silently.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
