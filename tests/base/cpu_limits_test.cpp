// What limits the number of threads, from trees of files as /proc and /sys show them; and processors past 1,024.
#include "runtime/base/host/cpu_limits.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/test_folder.h"

namespace {

std::vector<int> pretended_processors;  // empty: ask the system
size_t kernel_bytes = 0;                // of a set of all processors that the pretended kernel is built for

}  // namespace

// Stands before the C library's.
extern "C" int sched_getaffinity(pid_t process, size_t size_bytes, cpu_set_t* set) {
  if (pretended_processors.empty()) {
    const long written = ::syscall(SYS_sched_getaffinity, process, size_bytes, set);
    return written < 0 ? -1 : 0;
  }
  if (size_bytes < kernel_bytes) {
    errno = EINVAL;
    return -1;
  }
  for (const int cpu : pretended_processors) CPU_SET_S(static_cast<size_t>(cpu), size_bytes, set);
  return 0;
}

namespace attar {
namespace {

namespace fs = std::filesystem;

class CpuLimitsTest : public ::testing::Test {
 protected:
  CpuLimitsTest() { pretend({0, 1, 2, 3, 4, 5, 6, 7}, 128); }
  ~CpuLimitsTest() override { pretended_processors.clear(); }

  static void pretend(std::vector<int> processors, size_t bytes) {
    pretended_processors = std::move(processors);
    kernel_bytes = bytes;
  }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void unified_mount(const std::string& group, const std::string& mounted = "/") {
    write("/proc/self/mountinfo",
          "22 1 0:21 / /proc rw - proc proc rw\n"
          "31 23 0:28 " +
              mounted + " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    write("/proc/self/cgroup", "0::" + group + "\n");
  }

  const TestFolder own_{"cpu_limits"};
  const std::string root_ = own_.path();
};

TEST_F(CpuLimitsTest, WithoutLimitsAThreadACore) {
  EXPECT_EQ(cpu_limits(root_).processors, 8);
  EXPECT_EQ(cpu_limits(root_).threads(), 8);
  EXPECT_EQ(cpu_limits(root_).quota, 0.0);
  for (int cpu = 0; cpu < 8; ++cpu)  // processors n and n + 4 share a core
    write("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/core_cpus_list",
          std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4) + "\n");
  EXPECT_EQ(cpu_limits(root_).processors, 8);
  EXPECT_EQ(cpu_limits(root_).cores, 4);
  EXPECT_EQ(cpu_limits(root_).threads(), 4);
  EXPECT_EQ(cpu_limits(root_).spinning_threads(), 8);
  pretend({1, 5, 6}, 128);
  EXPECT_EQ(cpu_limits(root_).threads(), 2);
}

TEST_F(CpuLimitsTest, TheLeastQuotaOfAllGroupsAbove) {
  unified_mount("/pod/container/app");
  EXPECT_EQ(cpu_limits(root_).quota, 0.0);
  write("/sys/fs/cgroup/pod/container/app/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/pod/cpu.max", "600000 100000\n");
  EXPECT_EQ(cpu_limits(root_).quota, 6.0);
  write("/sys/fs/cgroup/pod/container/cpu.max", "250000 100000\n");
  EXPECT_EQ(cpu_limits(root_).quota, 2.5);
  EXPECT_EQ(cpu_limits(root_).threads(), 3);
  EXPECT_EQ(cpu_limits(root_).spinning_threads(), 2);
  write("/sys/fs/cgroup/pod/container/app/cpu.max", "5000 100000\n");
  EXPECT_EQ(cpu_limits(root_).threads(), 1);
  EXPECT_EQ(cpu_limits(root_).spinning_threads(), 1);
}

TEST_F(CpuLimitsTest, AContainerSeesItsOwnGroupAtTheMountPoint) {
  for (const auto& [group, mounted] :
       {std::pair{"/", "/"}, {"/docker/1f", "/docker/1f"}, {"/../..", "/"}, {"/a", "/b"}}) {
    unified_mount(group, mounted);
    write("/sys/fs/cgroup/cpu.max", "200000 50000\n");
    EXPECT_EQ(cpu_limits(root_).quota, 4.0) << group << " in " << mounted;
  }
}

TEST_F(CpuLimitsTest, VersionOne) {
  write("/proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  write("/proc/self/cgroup", "3:cpuset:/other\n2:cpu,cpuacct:/batch/job\n0::/\n");
  const std::string group = "/sys/fs/cgroup/cpu,cpuacct/batch/job";
  write(group + "/cpu.cfs_quota_us", "-1\n");
  write(group + "/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_limits(root_).quota, 0.0);
  write(group + "/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(cpu_limits(root_).quota, 1.5);
  EXPECT_EQ(cpu_limits(root_).threads(), 2);
}

TEST_F(CpuLimitsTest, MoreProcessorsThanAFixedSetHolds) {
  std::vector<int> processors;
  for (int cpu = 0; cpu < 3000; cpu += 2) processors.push_back(cpu);
  pretend(processors, 8192 / 8);
  EXPECT_EQ(cpu_limits(root_).processors, 1500);
  EXPECT_EQ(cpu_limits(root_).threads(), 1500);
}

TEST(CpuLimits, OfThisMachine) {
  const CpuLimits limits = cpu_limits();
  EXPECT_GE(limits.processors, 1);
  EXPECT_LE(limits.processors, ::sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_LE(limits.cores, limits.processors);
  EXPECT_LE(default_threads(), limits.cores);
  cpu_set_t one, before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(cpu_limits().processors, 1);
  EXPECT_EQ(default_threads(), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(cpu_limits().processors, limits.processors);
  EXPECT_EQ(cpu_limits().cores, limits.cores);
}

}  // namespace
}  // namespace attar
