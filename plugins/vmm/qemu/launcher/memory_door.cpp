// Loaded into QEMU: opens the memory that clones share for reading only. QEMU maps it privately, but this version asks
// to write into every memory file, which would let one box change the memory of all. That the file cannot be written
// is the kernel's doing; this only keeps QEMU from asking.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdarg>
#include <cstring>

namespace {
constexpr const char* shared_memory = "/base/memory";

using opener = int (*)(const char*, int, ...);

int reading(opener real, const char* path, int flags, mode_t mode) {
  if (std::strcmp(path, shared_memory) == 0) return real(path, (flags & ~(O_ACCMODE | O_CREAT)) | O_RDONLY);
  return real(path, flags, mode);
}

mode_t mode_of(int flags, va_list more) { return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0; }
}  // namespace

extern "C" __attribute__((visibility("default"))) int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return reading(reinterpret_cast<opener>(::dlsym(RTLD_NEXT, "open64")), path, flags, mode);
}

// What a checked open64() without a mode is compiled to.
extern "C" __attribute__((visibility("default"))) int __open64_2(const char* path, int flags) {
  return reading(reinterpret_cast<opener>(::dlsym(RTLD_NEXT, "open64")), path, flags, 0);
}
