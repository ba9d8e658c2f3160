// A GGUF file: config, tokenizer, tensors, their values, and a text through its tokenizer and chat template.
#include "runtime/formats/jinja/chat_template.h"
#include "runtime/formats/model_file.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  const std::string path = folder.put("model.gguf", fuzz::as_text(data, size));
  fuzz::may_refuse([&] {
    const ModelFile file = ModelFile::open(path);
    for (const TensorSpec& spec : tensor_specs(file.config())) file.values(spec);
    const Tokenizer tokenizer(file.tokenizer());
    tokenizer.decode(tokenizer.encode("Don't stop  at 1234\n\u00e9 <s>", {.parse_special = true}), true);
    if (!file.tokenizer().chat_template.empty())
      ChatTemplate(file.tokenizer().chat_template).render({.messages = {{"user", "hi"}}});
  });
  return 0;
}
