#include "runtime/base/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr uint64_t kPartBytes = 1 << 20;
constexpr uint64_t kMostPointerBytes = 1024;

Error read_error(const std::string& path) {
  return input_error(path, std::string("cannot be read: ") + std::strerror(errno));
}

Error changed_error(const std::string& path) {
  return input_error(path, "was changed while it was in use", "", "", "let the other program finish and run again");
}

bool same_time(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// Writing sets all three; whoever sets the modification time back sets the change time forward. Giving the file
// another name, or taking one away, sets the change time too, but no byte.
bool same_content(const struct stat& before, const struct stat& now) {
  return before.st_size == now.st_size && same_time(before.st_mtim, now.st_mtim) &&
         (same_time(before.st_ctim, now.st_ctim) || now.st_nlink != before.st_nlink);
}

// Git keeps a line or two in place of a large file until Git LFS fetches it.
bool is_lfs_pointer(std::string_view bytes) {
  return bytes.starts_with("version https://git-lfs.github.com/spec/");
}

}  // namespace

struct InputFile::Opened {
  explicit Opened(const std::string& name) : path(name) {}
  ~Opened() {
    if (descriptor >= 0) ::close(descriptor);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  // The descriptor, which is closed here, or -1 with errno.
  void take(int opened) {
    descriptor = opened;
    if (descriptor < 0) throw input_error(path, std::string("cannot be opened: ") + std::strerror(errno));
    if (::fstat(descriptor, &status) != 0) throw read_error(path);
    if (!S_ISREG(status.st_mode)) throw input_error(path, "is not a regular file");
  }
  void take(std::span<const std::byte> bytes) {
    memory = bytes;
    status.st_size = static_cast<off_t>(bytes.size());
  }

  std::string path;
  int descriptor = -1;  // none: the bytes are in memory
  std::span<const std::byte> memory{};
  struct stat status {};
};

InputFile::InputFile(const std::string& path) {
  const auto opened = std::make_shared<Opened>(path);
  // Without O_NONBLOCK a named pipe would wait here for its writer.
  opened->take(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  opened_ = opened;
  if (size_bytes() > kMostPointerBytes) return;
  std::string text(size_bytes(), '\0');
  read(0, std::as_writable_bytes(std::span(text)));
  if (is_lfs_pointer(text))
    throw input_error(path, "is a Git LFS pointer, not the file itself", "", "", "fetch the file with `git lfs pull`");
}

InputFile InputFile::of_descriptor(int descriptor, const std::string& name) {
  const auto opened = std::make_shared<Opened>(name);
  opened->take(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  InputFile file;
  file.opened_ = opened;
  return file;
}

InputFile InputFile::of_memory(std::span<const std::byte> bytes, const std::string& name) {
  const auto opened = std::make_shared<Opened>(name);
  opened->take(bytes);
  InputFile file;
  file.opened_ = opened;
  return file;
}

const std::string& InputFile::path() const {
  return opened_->path;
}

uint64_t InputFile::size_bytes() const {
  return static_cast<uint64_t>(opened_->status.st_size);
}

std::string InputFile::stamp() const {
  const struct stat& of = opened_->status;
  std::string text;
  for (const int64_t number : {int64_t(of.st_dev), int64_t(of.st_ino), int64_t(of.st_size), int64_t(of.st_mtim.tv_sec),
                               int64_t(of.st_mtim.tv_nsec), int64_t(of.st_ctim.tv_sec), int64_t(of.st_ctim.tv_nsec)})
    text += std::to_string(number) + " ";
  return text;
}

void InputFile::read(uint64_t offset, std::span<std::byte> into) const {
  if (opened_->descriptor < 0) {
    std::copy_n(opened_->memory.data() + offset, into.size(), into.data());
    return;
  }
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(opened_->descriptor, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw read_error(path());
    if (got == 0) throw changed_error(path());
    done += static_cast<size_t>(got);
  }
  struct stat now {};
  if (::fstat(opened_->descriptor, &now) != 0) throw read_error(path());
  if (!same_content(opened_->status, now)) throw changed_error(path());
}

void InputFile::visit(const std::function<void(std::span<const std::byte>)>& part) const {
  std::vector<std::byte> buffer(std::min<uint64_t>(kPartBytes, size_bytes()));
  for (uint64_t at = 0; at < size_bytes(); at += kPartBytes) {
    const auto bytes = std::span(buffer).first(std::min<uint64_t>(kPartBytes, size_bytes() - at));
    read(at, bytes);
    part(bytes);
  }
}

bool path_exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string read_file(const std::string& path, size_t limit_bytes) {
  const InputFile file(path);
  if (file.size_bytes() > limit_bytes)
    throw input_error(path, "is too large", "at most " + std::to_string(limit_bytes) + " bytes",
                      std::to_string(file.size_bytes()));
  std::string text(file.size_bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace attar
