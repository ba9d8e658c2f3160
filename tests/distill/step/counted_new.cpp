#include "tests/distill/step/counted_new.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> live_bytes{0}, most_bytes{0};

void* counted(size_t size) {
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  const int64_t now = live_bytes += static_cast<int64_t>(::malloc_usable_size(memory));
  for (int64_t most = most_bytes; most < now && !most_bytes.compare_exchange_weak(most, now);) {
  }
  return memory;
}

void release(void* memory) {
  if (memory == nullptr) return;
  live_bytes -= static_cast<int64_t>(::malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// These stand before the C++ library's.
void* operator new(size_t size) {
  return counted(size);
}
void* operator new[](size_t size) {
  return counted(size);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  release(memory);
}

namespace attar {

CountedNew::CountedNew() : before_(live_bytes) {
  most_bytes = before_;
}

int64_t CountedNew::peak_bytes() const {
  return most_bytes - before_;
}

}  // namespace attar
