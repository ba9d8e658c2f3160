// What lies under the checksum of a token data set or cache of teacher signals (HDF5): an input is the bytes after the
// user block, which is made to fit them.
#include "compress/dataset/dataset_checks.h"
#include "compress/dataset/dataset_file.h"
#include "runtime/base/sha256.h"
#include "tests/fuzz/fuzz_input.h"

// HDF5 1.10 leaks on some damaged files, and the search for leaks beside LibTorch takes a second each.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0";
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  const std::string_view rest = fuzz::as_text(data, size);
  const std::string path = folder.put("cache.h5", dataset_user_block(sha256(rest)) + std::string(rest));
  fuzz::may_refuse([&] { read_dataset(path, "0123456789abcdef", 8); });
  return 0;
}
