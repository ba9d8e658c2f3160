// model.safetensors of a directory whose other files are right: make_corpus.py writes tensors of this shape.
#include "runtime/formats/model_file.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

constexpr const char* kConfig = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 6,
 "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
 "head_dim": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
 "tie_word_embeddings": false})";
constexpr const char* kTokenizer = R"({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "model":
 {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "e": 5}, "merges": ["a b"]}, "added_tokens": []})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attar;
  static const fuzz::Folder folder;
  static const std::string config = folder.put("config.json", kConfig),
                           tokenizer = folder.put("tokenizer.json", kTokenizer);
  folder.put("model.safetensors", fuzz::as_text(data, size));
  fuzz::may_refuse([&] {
    const ModelFile file = ModelFile::open(folder.path());
    for (const TensorSpec& spec : tensor_specs(file.config())) file.values(spec);
  });
  return 0;
}
