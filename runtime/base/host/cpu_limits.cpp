// Sources: sched_setaffinity(2), cgroups(7), the kernel's admin-guide/cgroup-v1 and cgroup-v2, cputopology.
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

// Between the separators, also what is empty.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string first_line(const std::string& path) {
  return split(kernel_file(path), '\n').front();
}

// Processors of one core name each other in the same words. What the system does not tell counts as a core.
int cores_of(const std::vector<int>& processors, const std::string& root) {
  std::set<std::string> cores;
  for (const int cpu : processors) {
    const std::string topology = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string siblings = first_line(topology + "core_cpus_list");
    if (siblings.empty()) siblings = first_line(topology + "thread_siblings_list");  // its name before Linux 5.3
    cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
  }
  return static_cast<int>(cores.size());
}

bool lists(const std::string& names, const char* name) {
  const std::vector<std::string> all = split(names, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

// One hierarchy of control groups that limits processors, and where this process stands in it.
struct Hierarchy {
  bool unified = false;           // version 2
  std::string root, mount_point;  // the group that is mounted, and where
  std::string group{};            // this process's, from the hierarchy's top
};

std::vector<Hierarchy> mounted_hierarchies(const std::string& root) {
  std::vector<Hierarchy> found;
  for (const std::string& line : split(kernel_file(root + "/proc/self/mountinfo"), '\n')) {
    // id parent device root mount_point options [more] - type source super_options
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.end() - dash < 4 || dash - fields.begin() < 6) continue;
    const bool unified = dash[1] == "cgroup2";
    if (unified || (dash[1] == "cgroup" && lists(dash[3], "cpu"))) found.push_back({unified, fields[3], fields[4]});
  }
  return found;
}

void find_groups(const std::string& root, std::vector<Hierarchy>& hierarchies) {
  for (const std::string& line : split(kernel_file(root + "/proc/self/cgroup"), '\n')) {  // number:controllers:path
    const std::vector<std::string> fields = split(line, ':');
    if (fields.size() < 3) continue;
    for (Hierarchy& h : hierarchies)
      if (h.unified ? fields[1].empty() : lists(fields[1], "cpu")) h.group = fields[2];
  }
}

// In processors; 0: none. "max" is none too.
double quota_of_folder(const std::string& folder, bool unified) {
  const std::string both = first_line(folder + "/cpu.max");
  const std::string quota = unified ? both : first_line(folder + "/cpu.cfs_quota_us");
  const std::string period = unified ? both.substr(both.find(' ') + 1) : first_line(folder + "/cpu.cfs_period_us");
  const double granted = std::strtod(quota.c_str(), nullptr), of = std::strtod(period.c_str(), nullptr);
  return granted > 0.0 && of > 0.0 ? granted / of : 0.0;
}

// The least quota of the process's group and of those that it lies in.
double quota_of(const Hierarchy& h, const std::string& root) {
  std::string group = h.group;
  if (h.root != "/" && group.rfind(h.root, 0) == 0)
    group.erase(0, h.root.size());
  else if (h.root != "/")
    group.clear();
  if (group == "/" || group.find("..") != std::string::npos) group.clear();  // outside of what is mounted
  double least = 0.0;
  while (true) {
    const double quota = quota_of_folder(root + h.mount_point + group, h.unified);
    if (quota > 0.0 && (least == 0.0 || quota < least)) least = quota;
    if (group.empty()) return least;
    group.erase(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
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
  std::vector<Hierarchy> hierarchies = mounted_hierarchies(root);
  find_groups(root, hierarchies);
  for (const Hierarchy& h : hierarchies) {
    const double quota = quota_of(h, root);
    if (quota > 0.0 && (limits.quota == 0.0 || quota < limits.quota)) limits.quota = quota;
  }
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
