// What this machine can do at best, measured now: reading memory, and the instruction that int8 products are made of.
#pragma once

#include <cstdint>

#include "runtime/base/host/isa.h"
#include "runtime/base/host/thread_pool.h"

namespace attar::runtime {

struct MachineSpeed {
  double read_bytes_per_s = 0;     // by all threads together, one stream each
  uint64_t read_bytes = 0;         // of memory that was read: more than the last cache holds, where there is as much
  double multiply_adds_per_s = 0;  // int8, in registers, by all threads together; 0: not measured on this machine
  const char* instruction = "";    // that makes them: the one of the kernels of that instruction set
};

// Takes a second or less. The best of a few runs: what is in the way can only slow them.
MachineSpeed machine_speed(ThreadPool& threads, Isa isa);

}  // namespace attar::runtime
