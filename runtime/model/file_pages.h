// Gives back the memory of file pages that were read once: a packed tensor's bytes need not stay resident beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace attar::runtime {

// The process's read-only mappings of files at the time of construction. Only pages inside one of them are given back:
// they come back from the file when they are read again, whereas memory of any other kind would be lost.
class FilePages {
 public:
  FilePages();  // where /proc is absent, release() does nothing
  void release(std::span<const std::byte> bytes) const;

 private:
  struct Range {
    uintptr_t begin, end;
  };
  std::vector<Range> ranges_;
};

}  // namespace attar::runtime
