#include "runtime/base/lazy_bytes.h"

#include <utility>

namespace attar {

LazyBytes::LazyBytes(InputFile file, uint64_t offset, size_t size_bytes)
    : file_(std::move(file)), offset_(offset), size_bytes_(size_bytes), in_file_(true) {}

LazyBytes LazyBytes::subspan(size_t offset, size_t size_bytes) const {
  if (in_file_) return {file_, offset_ + offset, size_bytes};
  return memory_.subspan(offset, size_bytes);
}

std::span<const std::byte> LazyBytes::read(std::vector<std::byte>& buffer) const {
  if (!in_file_) return memory_;
  if (buffer.size() < size_bytes_) buffer.resize(size_bytes_);  // it never shrinks: growing again would clear bytes
  const std::span<std::byte> bytes = std::span(buffer).first(size_bytes_);
  file_.read(offset_, bytes);
  return bytes;
}

}  // namespace attar
