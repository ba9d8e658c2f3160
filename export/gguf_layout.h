// How a model is laid out in GGUF: which architecture holds it, what its metadata says. Torch-free.
// Sources: the GGUF specification (keys); what llama.cpp's architectures read (measured with its library,
// tests/oracle).
#pragma once

#include <string>
#include <vector>

#include "export/export.h"
#include "runtime/formats/config.h"
#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

struct GgufLayout {
  std::string architecture;        // llama, qwen2, qwen3, gemma3; deci, openelm for uneven layers
  bool interleaved_rope = false;   // rows of q and k, and their biases, pair neighbours
  bool fused_qkv = false;          // one attn_qkv in place of attn_q, attn_k, attn_v
  bool per_layer = false;          // heads and feed-forward widths are arrays
  double query_norm_factor = 1.0;  // the architecture's score scale is fixed: the query norms carry what is left
  std::vector<std::string> notes;  // for the report and the model card
};

// Error{Usage} with the reason when no architecture computes this model.
GgufLayout gguf_layout(const ModelConfig& config);

// Everything before the tensors. The number of bytes does not depend on file_type.
std::vector<GgufEntry> gguf_metadata(const ModelConfig& config, const GgufLayout& layout,
                                     const TokenizerData& tokenizer, const ExportInfo& info, int64_t file_type);

// The factors that divide the RoPE frequencies, as rope_freqs.weight holds them; empty without Llama 3 scaling. (D/2)
std::vector<float> gguf_rope_factors(const ModelConfig& config);

// general.file_type of a file whose matrices are mostly of `type`; with the bit "guessed" where presets share a type.
int64_t gguf_file_type(TensorType type);

}  // namespace attar
