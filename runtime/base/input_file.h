// Files that are read. Nothing is mapped: what another process does to a file can be an Error here, never a signal, and
// nothing that was read changes afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace attar {

// An open file, or bytes in memory in a file's place. A file stays as it was when it was opened: every read checks
// that nobody wrote to it since. (A file that was replaced or removed is still the one that was opened.) Copies share
// the descriptor; threads may read at once.
class InputFile {
 public:
  InputFile() = default;                        // no file; only assignment may follow
  explicit InputFile(const std::string& path);  // Error{Input}: it cannot be opened, is no regular file, or is a
                                                // Git LFS pointer in the file's place
  // The file behind a descriptor, whose place in it neither matters nor changes; it is duplicated. `name` stands in
  // messages. Error{Input}: it is no regular file that can be read.
  static InputFile of_descriptor(int descriptor, const std::string& name);
  // These bytes, which must outlive every copy.
  static InputFile of_memory(std::span<const std::byte> bytes, const std::string& name);

  const std::string& path() const;
  uint64_t size_bytes() const;
  // Of the file as it was opened: one that is opened later is the same, and nobody has written to it, where this is the
  // same.
  std::string stamp() const;
  // Fills `into` from `offset` on, within the size. Error{Input} when the file was changed since it was opened.
  void read(uint64_t offset, std::span<std::byte> into) const;
  // All of it, a MiB at a time.
  void visit(const std::function<void(std::span<const std::byte>)>& part) const;

 private:
  struct Opened;
  std::shared_ptr<const Opened> opened_;
};

// Whether something is there; what the system cannot look up (a loop of links, a name too long) is not.
bool path_exists(const std::string& path);

// The whole of a small file. Error{Input} when it cannot be read, is cut meanwhile, or is longer than `limit_bytes`.
std::string read_file(const std::string& path, size_t limit_bytes = size_t{1} << 30);

}  // namespace attar
