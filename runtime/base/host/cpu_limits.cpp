// Sources: sched_setaffinity(2), the kernel's admin-guide/cgroup-v1, cgroup-v2 and cputopology.
#include "runtime/base/host/cpu_limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "runtime/base/host/control_groups.h"
#include "runtime/base/host/kernel_file.h"

namespace attar {
namespace {

// The set has no fixed size: a kernel for more processors than it has room for answers EINVAL.
std::vector<int> allowed_processors() {
#ifdef __EMSCRIPTEN__
  return {};  // not told, and one thread is all there is
#else
  constexpr int kMostProcessors = 1 << 20;  // far beyond what any kernel is built for
  for (int room = CPU_SETSIZE; room <= kMostProcessors; room *= 2) {
    const auto give_back = [](cpu_set_t* set) { CPU_FREE(set); };
    const std::unique_ptr<cpu_set_t, decltype(give_back)> set(CPU_ALLOC(static_cast<size_t>(room)), give_back);
    const size_t size_bytes = CPU_ALLOC_SIZE(static_cast<size_t>(room));
    if (set == nullptr) break;
    CPU_ZERO_S(size_bytes, set.get());
    if (::sched_getaffinity(0, size_bytes, set.get()) == 0) {
      std::vector<int> allowed;
      for (int cpu = 0; cpu < room; ++cpu)
        if (CPU_ISSET_S(static_cast<size_t>(cpu), size_bytes, set.get())) allowed.push_back(cpu);
      return allowed;
    }
    if (errno != EINVAL) break;
  }
  return {};
#endif
}

// Processors of one core name each other in the same words. What the system does not tell counts as a core.
int cores_of(const std::vector<int>& processors, const std::string& root) {
  std::set<std::string> cores;
  for (const int cpu : processors) {
    const std::string topology = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string siblings = kernel_line(topology + "core_cpus_list");
    if (siblings.empty()) siblings = kernel_line(topology + "thread_siblings_list");  // its name before Linux 5.3
    cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
  }
  return static_cast<int>(cores.size());
}

// In processors; 0: none. "max" is none too.
double quota_of_folder(const std::string& folder, bool unified) {
  const std::string both = kernel_line(folder + "/cpu.max");
  const std::string quota = unified ? both : kernel_line(folder + "/cpu.cfs_quota_us");
  const std::string period = unified ? both.substr(both.find(' ') + 1) : kernel_line(folder + "/cpu.cfs_period_us");
  const double granted = std::strtod(quota.c_str(), nullptr), of = std::strtod(period.c_str(), nullptr);
  return granted > 0.0 && of > 0.0 ? granted / of : 0.0;
}

}  // namespace

int CpuLimits::spinning_threads() const {
  return quota > 0.0 ? std::clamp(static_cast<int>(std::min(quota, 1e6)), 1, processors) : processors;
}

int CpuLimits::threads() const {
  return quota > 0.0 ? std::clamp(static_cast<int>(std::ceil(std::min(quota, 1e6))), 1, cores) : cores;
}

namespace {

CpuLimits limits_of(const std::vector<int>& processors, const std::string& root) {
  CpuLimits limits;
  limits.processors = std::max(1, static_cast<int>(processors.size()));
  limits.cores = std::max(1, cores_of(processors, root));
  limits.quota = least_group_limit("cpu", quota_of_folder, root);
  return limits;
}

}  // namespace

CpuLimits cpu_limits(const std::string& root) {
  static std::mutex reading;
  static std::optional<std::pair<std::vector<int>, CpuLimits>> known;  // of the processors beside them
  const std::vector<int> processors = allowed_processors();
  if (!root.empty()) return limits_of(processors, root);
  const std::lock_guard lock(reading);
  if (!known || known->first != processors) known.emplace(processors, limits_of(processors, root));
  return known->second;
}

int default_threads() {
  return cpu_limits().threads();
}

}  // namespace attar
