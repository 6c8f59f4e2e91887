#include "pty/terminal.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cerrno>

namespace caged::agent {

terminal_pair open_terminal(int columns, int rows, int owner) {
  terminal_pair pair;
  pair.master = fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!pair.master) throw os_failure(errno, "open /dev/ptmx", "The box needs /dev/ptmx and a devpts at /dev/pts.");
  int unlock = 0;
  if (::ioctl(pair.master.get(), TIOCSPTLCK, &unlock) != 0) throw os_failure(errno, "unlock the terminal");
  // TIOCGPTPEER opens the other side without a path, so a foreign /dev/pts cannot be put in between.
  pair.user_side = fd(::ioctl(pair.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pair.user_side) throw os_failure(errno, "open the terminal's user side");
  if (owner >= 0) [[maybe_unused]]
    const int ignored = ::fchown(pair.user_side.get(), static_cast<uid_t>(owner), static_cast<gid_t>(-1));
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  ::ioctl(pair.master.get(), TIOCSWINSZ, &size);
  termios modes{};
  if (::tcgetattr(pair.user_side.get(), &modes) == 0) {
    modes.c_iflag |= IUTF8;
    ::tcsetattr(pair.user_side.get(), TCSANOW, &modes);
  }
  return pair;
}

}  // namespace caged::agent
