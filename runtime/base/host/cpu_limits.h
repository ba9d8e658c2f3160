// How many threads this process has room for: what the system lets it run on.
#pragma once

#include <string>

namespace attar {

struct CpuLimits {
  int processors = 1;  // hardware threads it may be scheduled on (sched_getaffinity)
  int cores = 1;       // physical cores that these belong to; two hardware threads of a core share its multipliers
  double quota = 0.0;  // processors' worth of time that its control groups grant (cgroup v1 and v2); 0: no limit

  int spinning_threads() const;  // that can wait without taking time from each other: processors, within the quota
  int threads() const;           // the default of every --threads: a thread a core, within the quota
};

// `root` stands in front of /proc and /sys: tests put a tree of their own there. Without one, cores and quota are read
// again only when the processors are others.
CpuLimits cpu_limits(const std::string& root = "");

// cpu_limits().threads()
int default_threads();

inline constexpr int kMostThreads = 8192;  // that may be asked for

}  // namespace attar
