// tokenizer.json: read, a text encoded and decoded, written and read again.
#include "runtime/formats/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder, written;
  static const std::string config =
      folder.put("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true})");
  folder.put("tokenizer.json", fuzz::as_text(data, size));
  fuzz::may_refuse([&] {
    const Tokenizer tokenizer(read_hf_tokenizer(folder.path()));
    for (const char* text : {"", " ab  abc\n\n12345 it's", "<s>e\u0301\u00e9\u4e16</s>  x", "\xf0\x9f\x98\x80 "})
      tokenizer.decode(tokenizer.encode(text, {.parse_special = true}), true);
    for (int32_t id = 0; id < std::min<int64_t>(64, tokenizer.vocab_size()); ++id) tokenizer.derivation(id);
    write_hf_tokenizer(written.path(), tokenizer.data());
    const Tokenizer again(read_hf_tokenizer(written.path()));
  });
  return 0;
}
