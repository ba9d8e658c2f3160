// Sources: cgroups(7), the kernel's admin-guide/cgroup-v1 and cgroup-v2.
#include "runtime/base/host/control_groups.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "runtime/base/host/kernel_file.h"

namespace attar {
namespace {

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

bool lists(const std::string& names, const std::string& name) {
  const std::vector<std::string> all = split(names, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

// One hierarchy of control groups that has a controller, and where this process stands in it.
struct Hierarchy {
  bool unified = false;           // version 2
  std::string root, mount_point;  // the group that is mounted, and where
  std::string group{};            // this process's, from the hierarchy's top
};

std::vector<Hierarchy> mounted_hierarchies(const std::string& controller, const std::string& root) {
  std::vector<Hierarchy> found;
  for (const std::string& line : split(kernel_file(root + "/proc/self/mountinfo"), '\n')) {
    // id parent device root mount_point options [more] - type source super_options
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.end() - dash < 4 || dash - fields.begin() < 6) continue;
    const bool unified = dash[1] == "cgroup2";
    if (unified || (dash[1] == "cgroup" && lists(dash[3], controller)))
      found.push_back({unified, fields[3], fields[4]});
  }
  return found;
}

void find_groups(const std::string& controller, const std::string& root, std::vector<Hierarchy>& hierarchies) {
  for (const std::string& line : split(kernel_file(root + "/proc/self/cgroup"), '\n')) {  // number:controllers:path
    const std::vector<std::string> fields = split(line, ':');
    if (fields.size() < 3) continue;
    for (Hierarchy& h : hierarchies)
      if (h.unified ? fields[1].empty() : lists(fields[1], controller)) h.group = fields[2];
  }
}

// Of two limits, each 0 where there is none.
double lesser(double a, double b) {
  return a > 0.0 && b > 0.0 ? std::min(a, b) : std::max(a, b);
}

double least_limit(const Hierarchy& h, const GroupLimit& limit_of, const std::string& root) {
  std::string group = h.group;
  if (h.root != "/" && group.rfind(h.root, 0) == 0)
    group.erase(0, h.root.size());
  else if (h.root != "/")
    group.clear();
  if (group == "/" || group.find("..") != std::string::npos) group.clear();  // outside of what is mounted
  double least = 0.0;
  while (true) {
    least = lesser(least, limit_of(root + h.mount_point + group, h.unified));
    if (group.empty()) return least;
    group.erase(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

// "max", which is no number, and what no machine has (version 1 says none so) are no limit.
double memory_of_folder(const std::string& folder, bool unified) {
  constexpr double kNone_bytes = 0x1p62;
  const std::string limit = kernel_line(folder + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
  const double bytes = std::strtod(limit.c_str(), nullptr);
  return bytes > 0.0 && bytes < kNone_bytes ? bytes : 0.0;
}

}  // namespace

double least_group_limit(const std::string& controller, const GroupLimit& limit_of, const std::string& root) {
  std::vector<Hierarchy> hierarchies = mounted_hierarchies(controller, root);
  find_groups(controller, root, hierarchies);
  double least = 0.0;
  for (const Hierarchy& h : hierarchies) least = lesser(least, least_limit(h, limit_of, root));
  return least;
}

uint64_t memory_limit_bytes(const std::string& root) {
  return static_cast<uint64_t>(least_group_limit("memory", memory_of_folder, root));
}

}  // namespace attar
