#include "recipes/hub/part_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "recipes/net/http.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

Error write_error(const std::string& path, int code) {
  return Error(
      ErrorKind::Resources,
      {.where = path,
       .what = std::string("cannot be written: ") + std::strerror(code),
       .hint = code == ENOSPC || code == EDQUOT
                   ? "free some space and run again: it goes on from here; or name another folder in HF_HUB_CACHE"
                   : "name another folder in HF_HUB_CACHE or HF_HOME"});
}

}  // namespace

PartFile::PartFile(const std::string& path) : path_(path) {
  std::error_code code;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), code);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  struct stat status {};
  if (fd_ < 0 || ::fstat(fd_, &status) != 0) throw write_error(path, errno);
  size_bytes_ = static_cast<uint64_t>(status.st_size);
}

PartFile::~PartFile() {
  if (fd_ >= 0) ::close(fd_);
}

void PartFile::clear() {
  if (::ftruncate(fd_, 0) != 0) throw write_error(path_, errno);
  size_bytes_ = 0;
}

void PartFile::begin(int status, const std::string& content_range) {
  if (status == 200) {
    if (size_bytes_ > 0) clear();
    return;
  }
  const std::string wanted = "bytes " + std::to_string(size_bytes_) + "-";
  if (content_range.starts_with(wanted)) return;
  clear();
  throw HttpBroken("another part than was asked for", true);
}

void PartFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_bytes_));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw write_error(path_, errno);
    size_bytes_ += static_cast<uint64_t>(count);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void PartFile::close() {
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) throw write_error(path_, errno);
}

}  // namespace attar
