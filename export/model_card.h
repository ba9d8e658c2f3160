// README.md of an exported folder: front matter that the Hugging Face hub reads, then what the model is.
#pragma once

#include <string>

#include "export/export.h"
#include "runtime/formats/config.h"

namespace attar {

struct CardFacts {
  std::string dtype;         // "float32", "bfloat16"
  std::string weights_file;  // "model.safetensors"
  std::string weights_sha256;
  uint64_t weights_bytes = 0;
};

std::string model_card(const ModelConfig& config, const ExportInfo& info, const CardFacts& facts);

}  // namespace attar
