#include "runtime/base/host/kernel_file.h"

#include <gtest/gtest.h>

namespace attar {
namespace {

TEST(KernelFile, IsReadToItsEndThoughItNamesNoLength) {
  EXPECT_EQ(kernel_value(kernel_file("/proc/self/status"), "Name"), "base_test");
  EXPECT_GT(std::stoll(kernel_value(kernel_file("/proc/self/status"), "VmHWM")), 1000);
  EXPECT_EQ(kernel_file("/proc/no such file"), "");
}

TEST(KernelFile, AValueStandsBehindItsKeyAndColon) {
  const std::string text = "processor\t: 0\nmodel name\t: A: fast one\nempty:\nlast\t 7";
  EXPECT_EQ(kernel_value(text, "model name"), "A: fast one");
  EXPECT_EQ(kernel_value(text, "last"), "7");
  EXPECT_EQ(kernel_value(text, "empty"), "");
  EXPECT_EQ(kernel_value(text, "name"), "") << "keys begin a line";
}

}  // namespace
}  // namespace attar
