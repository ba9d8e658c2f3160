#include "tests/base/failing_writes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace attar {
namespace {

std::atomic<int64_t>& calls_left() {
  static std::atomic<int64_t> left = [] {
    const char* text = std::getenv("FAIL_NTH_WRITE");
    return text != nullptr ? std::strtoll(text, nullptr, 10) : 0;
  }();
  return left;
}

// Whether this call is the one; errno says so.
bool fails() {
  std::atomic<int64_t>& left = calls_left();
  if (left <= 0 || --left != 0) return false;
  errno = ENOSPC;
  return true;
}

bool is_regular_file(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

// The mode of open() is there only when a file may be created.
int open_file(const char* path, int flags, va_list rest) {
  const bool creates = (flags & O_CREAT) != 0;
  const mode_t mode = creates ? va_arg(rest, mode_t) : 0;
  if (creates && fails()) return -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

}  // namespace

void fail_nth_write(int64_t n) {
  calls_left() = n;
}

}  // namespace attar

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int fd = attar::open_file(path, flags, rest);
  va_end(rest);
  return fd;
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int fd = attar::open_file(path, flags, rest);
  va_end(rest);
  return fd;
}
ssize_t write(int fd, const void* bytes, size_t count) {
  return attar::is_regular_file(fd) && attar::fails() ? -1 : ::syscall(SYS_write, fd, bytes, count);
}
ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return attar::is_regular_file(fd) && attar::fails() ? -1 : ::syscall(SYS_pwrite64, fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  return ::pwrite(fd, bytes, count, offset);
}
int ftruncate(int fd, off_t length) noexcept {
  return attar::is_regular_file(fd) && attar::fails() ? -1 : static_cast<int>(::syscall(SYS_ftruncate, fd, length));
}
int ftruncate64(int fd, off64_t length) noexcept {
  return ::ftruncate(fd, length);
}
int fsync(int fd) {
  return attar::fails() ? -1 : static_cast<int>(::syscall(SYS_fsync, fd));
}
int rename(const char* from, const char* to) noexcept {
  return attar::fails() ? -1 : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned int flags) noexcept {
  return attar::fails() ? -1 : static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

}  // extern "C"
