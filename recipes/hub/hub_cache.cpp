#include "recipes/hub/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

std::string folder_name(const HubName& name) {
  std::string text = "models--" + name.repository;
  return text.replace(text.find('/'), 1, "--");
}

Error write_error(const std::string& path, const std::string& why) {
  return Error(ErrorKind::Resources, {.where = path,
                                      .what = "cannot be made: " + why,
                                      .hint = "name a folder for the cache in HF_HUB_CACHE or HF_HOME"});
}

void make_folder_of(const std::string& path) {
  std::error_code code;
  fs::create_directories(fs::path(path).parent_path(), code);
  if (code) throw write_error(path, code.message());
}

}  // namespace

HubCache::HubCache(const std::string& root, const HubName& name) : folder_(root + "/" + folder_name(name)) {}

std::optional<std::string> HubCache::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const std::string path = folder_ + "/refs/" + revision;
  std::error_code code;
  if (!fs::is_regular_file(path, code)) return std::nullopt;
  const std::string text = read_file(path), commit = text.substr(0, text.find_last_not_of(" \r\n") + 1);
  return is_commit(commit) ? std::optional(commit) : std::nullopt;
}

std::optional<HubListing> HubCache::listing(const std::string& commit) const {
  const std::string path = folder_ + "/trees/" + commit + ".json";
  return path_exists(path) ? parse_tree(read_file(path), commit) : std::nullopt;
}

HubListing HubCache::present(const std::string& commit) const {
  HubListing listing{.commit = commit, .files = {}};
  std::error_code code;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(snapshot(commit), code))
    if (std::error_code missing; entry.is_regular_file(missing))
      listing.files.push_back(
          {.name = entry.path().lexically_relative(snapshot(commit)).string(), .size_bytes = entry.file_size(missing)});
  std::sort(listing.files.begin(), listing.files.end(),
            [](const HubFile& a, const HubFile& b) { return a.name < b.name; });
  return listing;
}

bool HubCache::has(const std::string& commit, const HubFile& file) const {
  std::error_code code;
  return fs::is_regular_file(this->file(commit, file.name), code);
}

void HubCache::remember(const HubListing& listing, const std::string& revision) const {
  if (const std::string tree = tree_json(listing); !tree.empty())
    write_file_atomically(folder_ + "/trees/" + listing.commit + ".json", tree);
  if (revision != listing.commit) write_file_atomically(folder_ + "/refs/" + revision, listing.commit);
}

void HubCache::link(const std::string& commit, const HubFile& file) const {
  const std::string path = this->file(commit, file.name);
  std::error_code code;
  if (fs::is_regular_file(path, code)) return;
  make_folder_of(path);
  fs::remove(path, code);  // a link to a blob that is gone
  const fs::path target = fs::path(blob(file.hash())).lexically_relative(fs::path(path).parent_path());
  fs::create_symlink(target, path, code);
  if (!code || fs::is_regular_file(path)) return;  // made here, or by another process just now
  // A disk without links: the file itself, as huggingface_hub does.
  fs::rename(blob(file.hash()), path, code);
  if (code) throw write_error(path, code.message());
}

HubLock::HubLock(const std::string& root, const HubName& name, const std::string& hash,
                 const std::function<void()>& tick) {
  const std::string path = root + "/.locks/" + folder_name(name) + "/" + hash + ".lock";
  make_folder_of(path);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw write_error(path, std::strerror(errno));
  while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      const int code = errno;
      ::close(fd_);
      throw write_error(path, std::strerror(code));
    }
    try {
      tick();
    } catch (...) {
      ::close(fd_);
      throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

HubLock::~HubLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace attar
