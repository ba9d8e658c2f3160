// A packed text file; what it unpacks to is bounded.
#include "runtime/formats/text_file.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  constexpr size_t kLimitBytes = size_t{1} << 20;
  const std::string path = folder.put("text.txt.gz", fuzz::as_text(data, size));
  fuzz::may_refuse([&] { read_documents(path, kLimitBytes); });
  return 0;
}
