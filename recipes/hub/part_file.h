// A file that is being received: it grows at its end, and stays as it is when the program is killed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace attar {

class PartFile {
 public:
  explicit PartFile(const std::string& path);  // what is there is gone on with. Error{Resources}: it cannot be written
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }
  void clear();
  // The head of an answer: 200 brings the file from its start. HttpBroken: another part than the next one.
  void begin(int status, const std::string& content_range);
  void append(std::string_view bytes);  // Error{Resources}: the disk is full
  void close();

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
};

}  // namespace attar
