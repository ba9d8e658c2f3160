// A disk that fails: the n-th call (1-based, counted from now) that changes files fails with ENOSPC. Counted are open
// for creation, write, pwrite and ftruncate of regular files, fsync, rename and renameat2, whoever in the process makes
// them. failing_writes.cpp stands in for libc's functions in the test program that links it. As libfailing_writes.so
// before a program (LD_PRELOAD) it takes n from FAIL_NTH_WRITE. What is shipped knows nothing of it.
#pragma once

#include <cstdint>

namespace attar {

void fail_nth_write(int64_t n);  // 0: none fails

}  // namespace attar
