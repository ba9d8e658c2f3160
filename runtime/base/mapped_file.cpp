#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/error.h"

namespace attar {
namespace {

struct FileHandle {
  int fd = -1;
  ~FileHandle() {
    if (fd >= 0) ::close(fd);
  }
};

size_t open_regular_file(const std::string& path, FileHandle& handle) {
  // Without O_NONBLOCK a named pipe would wait here for its writer.
  handle.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (handle.fd < 0) throw input_error(path, std::string("cannot be opened: ") + std::strerror(errno));
  struct stat status {};
  if (::fstat(handle.fd, &status) != 0) throw input_error(path, std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw input_error(path, "is not a regular file");
  return static_cast<size_t>(status.st_size);
}

void on_sigbus(int) {
  static const char kMessage[] =
      "error: a mapped model or data file changed or shrank while it was in use; restore the file and run again\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
  static_cast<void>(ignored);
  ::_exit(static_cast<int>(ErrorKind::Input));
}

}  // namespace

struct MappedFile::Mapping {
  std::string path;
  void* address = nullptr;
  size_t size_bytes = 0;
  ~Mapping() {
    if (address != nullptr) ::munmap(address, size_bytes);
  }
};

MappedFile::MappedFile(const std::string& path) {
  FileHandle handle;
  auto mapping = std::make_shared<Mapping>();
  mapping->path = path;
  mapping->size_bytes = open_regular_file(path, handle);
  if (mapping->size_bytes > 0) {
    void* address = ::mmap(nullptr, mapping->size_bytes, PROT_READ, MAP_PRIVATE, handle.fd, 0);
    if (address == MAP_FAILED) throw input_error(path, std::string("cannot be mapped: ") + std::strerror(errno));
    mapping->address = address;
  }
  mapping_ = std::move(mapping);
}

std::span<const std::byte> MappedFile::bytes() const {
  if (!mapping_) return {};
  return {static_cast<const std::byte*>(mapping_->address), mapping_->size_bytes};
}

const std::string& MappedFile::path() const {
  static const std::string kNone;
  return mapping_ ? mapping_->path : kNone;
}

void install_sigbus_message() {
  struct sigaction action {};
  action.sa_handler = on_sigbus;
  ::sigaction(SIGBUS, &action, nullptr);
}

bool path_exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string read_file(const std::string& path, size_t limit_bytes) {
  FileHandle handle;
  const size_t size_bytes = open_regular_file(path, handle);
  if (size_bytes > limit_bytes)
    throw input_error(path, "is too large", "at most " + std::to_string(limit_bytes) + " bytes",
                      std::to_string(size_bytes));
  std::string text(size_bytes, '\0');
  size_t done = 0;
  while (done < size_bytes) {
    const ssize_t got = ::read(handle.fd, text.data() + done, size_bytes - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw input_error(path, std::string("cannot be read: ") + std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace attar
