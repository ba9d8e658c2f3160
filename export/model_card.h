// README.md of an exported folder: front matter that the Hugging Face hub reads, then what the model is.
#pragma once

#include <string>

#include "export/export.h"
#include "runtime/formats/config.h"

namespace attar {

enum class CardFormat { HuggingFace, CompressedTensors, Gguf };

struct CardFacts {
  CardFormat format = CardFormat::HuggingFace;
  std::string types;         // "float32", "bfloat16", or the plan's name: "Q4_K_M"
  std::string weights_file;  // "model.safetensors"
  std::string weights_sha256;
  uint64_t weights_bytes = 0;
};

std::string model_card(const ModelConfig& config, const ExportInfo& info, const CardFacts& facts);

}  // namespace attar
