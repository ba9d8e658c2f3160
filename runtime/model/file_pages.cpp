#include "runtime/model/file_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>

namespace attar::runtime {

FilePages::FilePages() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    // begin-end perms offset device inode path
    uintptr_t begin = 0, end = 0;
    char permissions[5] = {};
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %lu", &begin, &end, permissions, &inode) != 4)
      continue;
    if (inode != 0 && permissions[0] == 'r' && permissions[1] == '-') ranges_.push_back({begin, end});
  }
}

void FilePages::release(std::span<const std::byte> bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = (address + page - 1) / page * page, last = (address + bytes.size()) / page * page;
  if (first >= last) return;
  for (const Range& range : ranges_)
    if (range.begin <= first && last <= range.end)
      ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace attar::runtime
