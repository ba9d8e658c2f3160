// What the linker may keep of the objects that are compiled for one instruction set. Of an inline function that several
// files hold (a weak symbol) it keeps any one copy: theirs would be an illegal instruction for whoever calls it on an
// older processor. So these files define nothing but the one function that gives their table.
#include <gtest/gtest.h>
#include <stdio.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace attar::runtime {
namespace {

// Names of the global symbols that a member of the archive defines, "W name" or "T name", by member.
std::map<std::string, std::vector<std::string>> defined_symbols() {
  std::string text;
  FILE* nm = ::popen(ATTAR_NM " --defined-only --extern-only -C " ATTAR_RUNTIME_ARCHIVE, "r");
  for (int c = nm != nullptr ? ::fgetc(nm) : EOF; c != EOF; c = ::fgetc(nm)) text += static_cast<char>(c);
  EXPECT_TRUE(nm != nullptr && ::pclose(nm) == 0);
  std::map<std::string, std::vector<std::string>> symbols;
  std::string member;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with(":"))
      member = line.substr(0, line.size() - 1);
    else if (line.size() > 17)  // address, space
      symbols[member].push_back(line.substr(17));
  }
  return symbols;
}

TEST(KernelObjects, ShareNothingWithOtherFiles) {
  const auto symbols = defined_symbols();
  ASSERT_GT(symbols.size(), 5u);
  // The test can fail: files compiled for any processor do define such functions.
  bool weak_elsewhere = false;
  for (const auto& [member, names] : symbols)
    for (const std::string& name : names) weak_elsewhere = weak_elsewhere || name.starts_with("W ");
  EXPECT_TRUE(weak_elsewhere);
  [[maybe_unused]] const auto alone = [](const char* table) {
    return std::vector<std::string>{"T attar::runtime::" + std::string(table) + "()"};
  };
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_EQ(symbols.at("kernels_avx2.cpp.o"), alone("avx2_kernels"));
  EXPECT_EQ(symbols.at("kernels_avx512.cpp.o"), alone("avx512_kernels"));
#elif defined(__aarch64__) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_EQ(symbols.at("kernels_neon_dot.cpp.o"), alone("neon_dot_kernels"));
  EXPECT_EQ(symbols.at("kernels_neon_i8mm.cpp.o"), alone("neon_i8mm_kernels"));
#endif
}

}  // namespace
}  // namespace attar::runtime
