// What the fuzz targets share: an input that lies in a file, as the readers want it.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/error.h"

namespace attar::fuzz {

// A folder of this process in memory, where the system has one; it vanishes at the end.
class Folder {
 public:
  Folder() {
    std::string name =
        (std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path().string());
    name += "/attar_fuzz_XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~Folder() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

  // Writes a file of the folder and returns its path.
  std::string put(const std::string& name, std::string_view bytes) const {
    std::string file = path_ + "/" + name;
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }

 private:
  std::string path_;
};

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// What must hold for any input: where it does not the input is a finding.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// An input may be refused, but by attar::Error alone: any other exception is a finding.
template <class Call>
void may_refuse(Call&& call) {
  try {
    call();
  } catch (const Error&) {
  }
}

}  // namespace attar::fuzz
