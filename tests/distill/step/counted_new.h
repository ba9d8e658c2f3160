// Peak of what operator new gives while one of these lives, above what was there before: vectors and all else of C++,
// beside LibTorch's tensors (tests/compress/counted_memory.h). For programs that link counted_new.cpp, which replaces
// it; one at a time.
#pragma once

#include <cstdint>

namespace attar {

class CountedNew {
 public:
  CountedNew();
  CountedNew(const CountedNew&) = delete;
  CountedNew& operator=(const CountedNew&) = delete;

  int64_t peak_bytes() const;

 private:
  int64_t before_;
};

}  // namespace attar
