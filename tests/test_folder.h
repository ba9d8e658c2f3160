// A folder of its own for a test, which vanishes with the object. Several checkouts may test at once.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace attar {

class TestFolder {
 public:
  explicit TestFolder(const std::string& name)
      : path_((std::filesystem::temp_directory_path() / ("attar_" + name + "_XXXXXX")).string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw std::filesystem::filesystem_error(path_, std::error_code());
  }
  ~TestFolder() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& file) const { return path_ + "/" + file; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace attar
