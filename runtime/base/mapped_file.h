// A read-only view of a whole file.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace attar {

// Copies share the mapping. The bytes stay valid as long as one copy lives. A file that another process shrinks while
// it is mapped raises SIGBUS; install_sigbus_message() turns that into one line and exit code 3 in the programs.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path);  // Error{Input} when it cannot be opened or is not a regular file

  std::span<const std::byte> bytes() const;
  const std::string& path() const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

// For main() only: a mapped file that shrinks ends the program with one clear line and exit code 3.
void install_sigbus_message();

// Whether something is there; what the system cannot look up (a loop of links, a name too long) is not.
bool path_exists(const std::string& path);

// The whole of a small file. Error{Input} when it cannot be read or is longer than `limit_bytes`.
std::string read_file(const std::string& path, size_t limit_bytes = size_t{1} << 30);

}  // namespace attar
