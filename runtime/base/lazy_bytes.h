// Bytes that lie in memory, or in a file until somebody asks for them: what a tensor of an opened model is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/input_file.h"

namespace attar {

class LazyBytes {
 public:
  LazyBytes() = default;
  LazyBytes(std::span<const std::byte> memory) : memory_(memory), size_bytes_(memory.size()) {}  // which outlives this
  LazyBytes(const std::vector<std::byte>& memory) : LazyBytes(std::span(memory)) {}
  LazyBytes(InputFile file, uint64_t offset, size_t size_bytes);  // within the file

  size_t size() const { return size_bytes_; }
  LazyBytes subspan(size_t offset, size_t size_bytes) const;  // within these

  // The bytes: where they lie in memory, else read into `buffer`, which then must stay, and which only grows.
  // Error{Input} when the file was changed since it was opened.
  std::span<const std::byte> read(std::vector<std::byte>& buffer) const;

 private:
  std::span<const std::byte> memory_;
  InputFile file_;
  uint64_t offset_ = 0;  // in the file
  size_t size_bytes_ = 0;
  bool in_file_ = false;
};

}  // namespace attar
