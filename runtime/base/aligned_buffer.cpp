#include "runtime/base/aligned_buffer.h"

#include <sys/mman.h>

#include <string>

#include "runtime/base/error.h"

namespace attar {
namespace {
constexpr size_t kHugePageBytes = size_t{2} << 20;
}

AlignedBuffer::AlignedBuffer(size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorKind::Resources, {.where = "memory",
                                       .what = "the system gave none",
                                       .expected = std::to_string(size_bytes) + " bytes",
                                       .hint = "close other programs, or take a smaller model or batch"});
  if (size_bytes >= 2 * kHugePageBytes) ::madvise(memory, size_bytes, MADV_HUGEPAGE);  // a wish: failing is harmless
  data_ = static_cast<std::byte*>(memory);
}

AlignedBuffer::~AlignedBuffer() {
  if (data_) ::munmap(data_, size_bytes_);
}

}  // namespace attar
