#include "runtime/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr const char *kAside = ".tmp-", *kOld = ".old-";

Error write_error(const std::string& path, const char* action, int code) {
  return Error(ErrorKind::Resources,
               {.where = path,
                .what = std::string("cannot ") + action + ": " + std::strerror(code),
                .hint = code == ENOSPC ? "free some space and run again; nothing was overwritten" : ""});
}

void fsync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) throw write_error(path, "open", errno);
  const int result = ::fsync(fd);
  const int code = errno;
  ::close(fd);
  if (result != 0 && code != EINVAL) throw write_error(path, "fsync", code);
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// After the rename: the new contents are there whole, but may be the old ones again after a power cut. A folder that
// may be written and not read cannot be synced at all.
void sync_name(const std::string& path) {
  const int fd = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  const int result = ::fsync(fd);
  const int code = errno;
  ::close(fd);
  if (result != 0 && code != EINVAL)
    throw Error(ErrorKind::Resources, {.where = path,
                                       .what = std::string("was written, but its name cannot be synced to the disk: ") +
                                               std::strerror(code)});
}

// Each takes the other's name, with no time between. -> false: this file system has no such call
bool change_places([[maybe_unused]] const std::string& aside, [[maybe_unused]] const std::string& path) {
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) throw write_error(path, "rename into place", errno);
#endif
  return false;
}

void publish_folder(const std::string& aside, const std::string& path) {
  namespace fs = std::filesystem;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(aside))
    if (entry.is_regular_file()) fsync_path(entry.path().string(), O_RDONLY);
  fsync_path(aside, O_RDONLY | O_DIRECTORY);
  if (!fs::exists(path)) {
    if (::rename(aside.c_str(), path.c_str()) != 0) throw write_error(path, "rename into place", errno);
    return;
  }
  std::error_code code;
  if (change_places(aside, path)) {
    fs::remove_all(aside, code);
    return;
  }
  // A folder cannot be renamed over a full one: the old one is moved away first.
  const std::string old = path + kOld + std::to_string(::getpid());
  if (::rename(path.c_str(), old.c_str()) != 0) throw write_error(path, "move away", errno);
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    fs::rename(old, path, code);
    throw write_error(path, "rename into place", reason);
  }
  fs::remove_all(old, code);
}

}  // namespace

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string aside_path(const std::string& path) {
  return without_trailing_slash(path) + kAside + std::to_string(::getpid());
}

bool is_aside(std::string_view name) {
  return name.find(kAside) != std::string_view::npos || name.find(kOld) != std::string_view::npos;
}

void sweep_asides(const std::string& folder, const std::vector<std::string>& beginnings) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> asides;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const auto begins = [&](const std::string& beginning) { return name.starts_with(beginning); };
    if (is_aside(name) && (beginnings.empty() || std::any_of(beginnings.begin(), beginnings.end(), begins)))
      asides.push_back(entry.path());
  }
  std::error_code ignored;
  for (const fs::path& aside : asides) fs::remove_all(aside, ignored);
}

namespace {

// No other file of this process has it.
std::string own_aside(const std::string& path) {
  static std::atomic<uint64_t> count{0};
  return aside_path(path) + "-" + std::to_string(count++);
}

// The folders of a path that are missing. What cannot be made is missed by whoever opens the file.
void make_folders(const std::string& folder) {
  for (size_t end = folder.find('/', 1); end != std::string::npos; end = folder.find('/', end + 1))
    ::mkdir(folder.substr(0, end).c_str(), 0777);
  ::mkdir(folder.c_str(), 0777);
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), aside_(own_aside(path)) {
  make_folders(folder_of(path));
  fd_ = ::open(aside_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) throw write_error(path_, "create", errno);
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!committed_) ::unlink(aside_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view text) {
  size_bytes_ += text.size();
  while (!text.empty()) {
    const size_t take = std::min(text.size(), kBufferBytes - buffer_.size());
    buffer_.append(text.substr(0, take));
    text.remove_prefix(take);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  flush();
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw write_error(path_, "write", errno);
    done += static_cast<size_t>(put);
  }
}

void AtomicFile::flush() {
  if (buffer_.empty()) return;
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t put = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw write_error(path_, "write", errno);
    done += static_cast<size_t>(put);
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (::fsync(fd_) != 0) throw write_error(path_, "fsync", errno);
  ::close(fd_);
  fd_ = -1;
  if (::rename(aside_.c_str(), path_.c_str()) != 0) throw write_error(path_, "rename into place", errno);
  committed_ = true;
  sync_name(path_);
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void publish(const std::string& aside, const std::string& given_path) {
  const std::string path = without_trailing_slash(given_path);
  if (std::filesystem::is_directory(aside)) {
    publish_folder(aside, path);
  } else {
    fsync_path(aside, O_RDONLY);
    if (::rename(aside.c_str(), path.c_str()) != 0) throw write_error(path, "rename into place", errno);
  }
  sync_name(path);
}

void remove_folder(const std::string& given_path) {
  const std::string path = without_trailing_slash(given_path), old = path + kOld + std::to_string(::getpid());
  std::error_code code;
  std::filesystem::remove_all(old, code);
  if (::rename(path.c_str(), old.c_str()) != 0) throw write_error(path, "move away", errno);
  std::filesystem::remove_all(old, code);
}

}  // namespace attar
