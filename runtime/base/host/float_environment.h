// The settings of the processor that every number here assumes: round to nearest, nothing flushed to zero, no traps. A
// host may have others (-ffast-math in any library of its process flushes denormal numbers), which would change bits.
#pragma once

#include <cfenv>

namespace attar {

// Sets them for this thread; the host's own come back at the end.
class FloatEnvironment {
 public:
  FloatEnvironment() {
    std::fegetenv(&host_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~FloatEnvironment() { std::fesetenv(&host_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  std::fenv_t host_;
};

}  // namespace attar
