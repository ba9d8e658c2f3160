// Peak of what LibTorch's tensors hold while one of these lives: its allocator is replaced by one that counts.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace attar {

class CountedMemory {
 public:
  CountedMemory() : before_(c10::GetCPUAllocator()) {
    live() = 0, peak() = 0;
    c10::SetCPUAllocator(&allocator(), 255);
  }
  ~CountedMemory() { c10::SetCPUAllocator(before_, 255); }
  CountedMemory(const CountedMemory&) = delete;
  CountedMemory& operator=(const CountedMemory&) = delete;

  int64_t peak_bytes() const { return peak(); }

 private:
  static constexpr size_t kHeader = 64;  // holds the size, and keeps LibTorch's alignment
  static std::atomic<int64_t>& live() {
    static std::atomic<int64_t> bytes;
    return bytes;
  }
  static std::atomic<int64_t>& peak() {
    static std::atomic<int64_t> bytes;
    return bytes;
  }
  static void release(void* data) {
    if (data == nullptr) return;
    char* begin = static_cast<char*>(data) - kHeader;
    live() -= static_cast<int64_t>(*reinterpret_cast<size_t*>(begin));
    std::free(begin);
  }
  struct Counting : c10::Allocator {
    c10::DataPtr allocate(size_t n) override {
      const c10::Device cpu(c10::DeviceType::CPU);
      if (n == 0) return {nullptr, nullptr, &release, cpu};
      char* begin = static_cast<char*>(std::aligned_alloc(kHeader, kHeader + (n + kHeader - 1) / kHeader * kHeader));
      *reinterpret_cast<size_t*>(begin) = n;
      const int64_t now = live() += static_cast<int64_t>(n);
      for (int64_t most = peak(); most < now && !peak().compare_exchange_weak(most, now);) {
      }
      return {begin + kHeader, begin + kHeader, &release, cpu};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
  };
  static Counting& allocator() {
    static Counting counting;
    return counting;
  }

  c10::Allocator* before_;
};

}  // namespace attar
