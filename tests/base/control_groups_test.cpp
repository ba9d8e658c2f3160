// Limits of memory, from trees of files as /proc and /sys show them; those of processors are in cpu_limits_test.cpp.
#include "runtime/base/host/control_groups.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/test_folder.h"

namespace attar {
namespace {

class ControlGroups : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  const TestFolder own_{"control_groups"};
  const std::string root_ = own_.path();
};

TEST_F(ControlGroups, TheLeastMemoryOfAllGroupsAbove) {
  EXPECT_EQ(memory_limit_bytes(root_), 0u) << "nothing is told";
  write("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  write("/proc/self/cgroup", "0::/pod/container\n");
  EXPECT_EQ(memory_limit_bytes(root_), 0u);
  write("/sys/fs/cgroup/pod/container/memory.max", "max\n");
  EXPECT_EQ(memory_limit_bytes(root_), 0u);
  write("/sys/fs/cgroup/pod/memory.max", "1073741824\n");
  EXPECT_EQ(memory_limit_bytes(root_), uint64_t{1} << 30);
  write("/sys/fs/cgroup/pod/container/memory.max", "536870912\n");
  EXPECT_EQ(memory_limit_bytes(root_), uint64_t{1} << 29);
}

TEST_F(ControlGroups, MemoryOfVersionOne) {
  write("/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "33 31 0:30 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  write("/proc/self/cgroup", "3:memory:/docker/1f\n2:cpu:/other\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(memory_limit_bytes(root_), 0u) << "no limit, as a number";
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  EXPECT_EQ(memory_limit_bytes(root_), uint64_t{1} << 31);
}

}  // namespace
}  // namespace attar
