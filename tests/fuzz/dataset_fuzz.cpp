// A token data set or cache of teacher signals (HDF5), and what training and calibration take from it.
#include "compress/token_dataset.h"
#include "tests/fuzz/fuzz_input.h"

// HDF5 1.10 leaks on some damaged files, and the search for leaks beside LibTorch takes a second each.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0";
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  const std::string path = folder.put("cache.h5", fuzz::as_text(data, size));
  fuzz::may_refuse([&] { read_dataset(path, "0123456789abcdef"); });
  return 0;
}
