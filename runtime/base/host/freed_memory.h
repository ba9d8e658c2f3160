// What a pass, or reading a model's file, has freed goes back to the system. The C library keeps it otherwise, among
// what is in use, and the next pass, whose blocks are of other sizes, asks for more: the largest resident set is then
// the sum of both. For programs of our own: a host's memory is its own business.
#pragma once

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace attar {

// Between passes: what comes next faults its pages in again.
inline void give_back_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace attar
