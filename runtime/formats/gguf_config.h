// ModelConfig out of GGUF metadata: the architectures named like families, and deci and openelm, which hold uneven
// llama/qwen2 and qwen3 models.
#pragma once

#include <string>
#include <string_view>

#include "runtime/formats/config.h"
#include "runtime/formats/container/gguf.h"

namespace attar {

// Error{Input} naming the key: unknown architecture, missing or impossible values, per-layer arrays of another length.
ModelConfig read_gguf_config(const GgufFile& file);

inline constexpr const char* kKeyScalesKey = "attar.kv_cache.key_scales";  // ModelConfig::key_scales
inline constexpr const char* kKvKey = "attar.kv_cache";  // how keys and values are kept: "int8"; llama.cpp skips it

bool is_gguf_architecture(std::string_view name);  // one of those that Attar reads

// Rows of q and k pair neighbours (2j, 2j + 1): architectures llama and deci.
bool gguf_interleaves_rope(const GgufFile& file);

}  // namespace attar
