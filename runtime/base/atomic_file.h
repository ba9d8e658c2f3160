// A file that appears whole or not at all: written aside as PATH.tmp-<pid>-<n>, fsynced, renamed, its folder fsynced.
// Of several threads that write one file each writes it whole, and the last one's stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attar {

class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);  // creates missing parent folders; Error{Resources} when it cannot
  ~AtomicFile();                                 // without commit(): removes what was written aside
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);  // does not move the end
  uint64_t size_bytes() const { return size_bytes_; }
  void commit();

 private:
  void flush();

  std::string path_;
  std::string aside_;
  std::string buffer_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  bool committed_ = false;
};

void write_file_atomically(const std::string& path, std::string_view text);

// "out/" is "out": a name can be put beside it.
std::string without_trailing_slash(std::string path);

// Names a not yet existing path beside `path` for writers that need a path of their own (HDF5, a folder), and
// publishes it: fsync, rename over `path`, fsync of the folder. A folder target must not exist or is replaced.
std::string aside_path(const std::string& path);
// Whether a file or folder of this name was never published, or is the folder that one was to take the place of: what a
// crash leaves.
bool is_aside(std::string_view name);
// Removes from `folder`, and all below it, what is_aside; with `beginnings` what begins with one of them alone. Nobody
// writes there meanwhile.
void sweep_asides(const std::string& folder, const std::vector<std::string>& beginnings = {});
void publish(const std::string& aside, const std::string& path);
// A folder goes whole: under its name there is never a part of it, and what a crash leaves is_aside.
void remove_folder(const std::string& path);

}  // namespace attar
