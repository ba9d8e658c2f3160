// What the control groups of this process limit.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace attar {

// The limit that stands in a group's folder; 0: none. `unified`: of version 2.
using GroupLimit = std::function<double(const std::string& folder, bool unified)>;

// The least limit of this process's group and of those that it lies in, in every hierarchy that has the controller
// ("cpu", "memory"); 0: none. `root` stands in front of /proc and /sys: tests put a tree of their own there.
double least_group_limit(const std::string& controller, const GroupLimit& limit_of, const std::string& root);

// Of memory, cgroup v1 and v2; 0: none.
uint64_t memory_limit_bytes(const std::string& root = "");

}  // namespace attar
