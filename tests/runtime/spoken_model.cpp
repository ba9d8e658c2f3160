#include "tests/runtime/spoken_model.h"

#include <cmath>
#include <cstring>

namespace attar::runtime {
namespace {

using Memory = std::map<std::string, std::vector<std::byte>>;

ModelFile::Parts parts_of(const ModelConfig& config, const TokenizerData& tokenizer) {
  ModelFile::Parts parts;
  parts.config = config;
  parts.tokenizer = tokenizer;
  parts.layout = Layout::HuggingFace;
  parts.source = "spoken";
  parts.provenance.name = "spoken";
  return parts;
}

}  // namespace

TokenizerData spoken_tokenizer(const std::vector<std::string>& texts) {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  data.tokens = {{.text = "<unk>", .kind = TokenKind::Unknown},
                 {.text = "<s>", .kind = TokenKind::Control},
                 {.text = "</s>", .kind = TokenKind::Control}};
  data.unknown = 0, data.bos = 1, data.eos = 2;
  data.add_bos = true;
  for (const std::string& text : texts) {
    const bool byte = text.size() == 6 && text.rfind("<0x", 0) == 0;
    data.tokens.push_back({.text = text,
                           .score = -static_cast<float>(data.tokens.size()),
                           .kind = byte ? TokenKind::Byte : TokenKind::Normal});
  }
  return data;
}

ModelFile successor_model(const TokenizerData& tokenizer, double strength, int64_t context_length) {
  const auto n = static_cast<int64_t>(tokenizer.tokens.size());
  ModelConfig config;
  config.vocab_size = n;
  config.width = n + n % 2;
  config.context_length = context_length;
  config.tied_embeddings = false;
  config.layers = {{.n_heads = 1, .n_kv_heads = 1, .head_dim = 4, .ffn_width = 4}};
  const auto width = static_cast<size_t>(config.width);
  auto memory = std::make_shared<Memory>();
  ModelFile::Parts parts = parts_of(config, tokenizer);
  for (const TensorSpec& spec : tensor_specs(config)) {
    std::vector<float> values(static_cast<size_t>(spec.elements()), is_norm(spec.role) ? 1.0f : 0.0f);
    for (size_t id = 0; id < static_cast<size_t>(n); ++id) {
      const size_t before = (id + static_cast<size_t>(n) - 1) % static_cast<size_t>(n);
      if (spec.role == Role::Embedding) values[id * width + id] = 1.0f;
      // The normed hidden state is sqrt(C) in one place.
      if (spec.role == Role::Output)
        values[id * width + before] = static_cast<float>(strength / std::sqrt(static_cast<double>(width)));
    }
    std::vector<std::byte>& bytes = (*memory)[spec.name];
    bytes.resize(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    parts.tensors[spec.name] = {TensorType::F32, spec.shape, bytes};
    parts.size_bytes += bytes.size();
  }
  parts.owner = memory;
  return ModelFile(std::move(parts));
}

ModelFile with_tokenizer(const ModelFile& file, TokenizerData tokenizer) {
  ModelFile::Parts parts = parts_of(file.config(), tokenizer);
  parts.layout = file.layout();
  for (const TensorSpec& spec : tensor_specs(file.config())) parts.tensors[spec.name] = file.tensor(spec.name);
  parts.size_bytes = file.size_bytes();
  parts.owner = std::make_shared<ModelFile>(file);
  return ModelFile(std::move(parts));
}

ModelFile without_token(const ModelFile& file, int32_t id) {
  ModelConfig config = file.config();
  --config.vocab_size;
  TokenizerData tokenizer = file.tokenizer();
  tokenizer.tokens.erase(tokenizer.tokens.begin() + id);
  ModelFile::Parts parts = parts_of(config, tokenizer);
  parts.layout = file.layout();
  auto memory = std::make_shared<std::pair<ModelFile, Memory>>(file, Memory());
  for (const TensorSpec& spec : tensor_specs(config)) {
    StoredTensor tensor = file.tensor(spec.name);
    if (spec.role == Role::Embedding || spec.role == Role::Output) {
      const size_t row_bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
      std::vector<std::byte>& bytes = memory->second[spec.name];
      std::vector<std::byte> buffer;
      const std::span<const std::byte> all = tensor.bytes.read(buffer);
      bytes.assign(all.begin(), all.end());
      const auto cut = bytes.begin() + static_cast<std::ptrdiff_t>(row_bytes) * id;
      bytes.erase(cut, cut + static_cast<std::ptrdiff_t>(row_bytes));
      tensor = {tensor.type, spec.shape, bytes};
    }
    parts.size_bytes += tensor.bytes.size();
    parts.tensors[spec.name] = tensor;
  }
  parts.owner = memory;
  return ModelFile(std::move(parts));
}

}  // namespace attar::runtime
