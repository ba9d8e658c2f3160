// A Hugging Face directory: weights, config.json, tokenizer files, model card; written aside and renamed.
#pragma once

#include <string>
#include <vector>

#include "export/export.h"
#include "export/model_card.h"
#include "runtime/formats/container/safetensors.h"

namespace attar {

struct HfFolder {
  const ModelConfig& config;
  const TokenizerData& tokenizer;
  const ExportInfo& info;
  std::string numbers;      // what the card says of them
  std::string config_json;  // made before anything is written, for it may refuse
  CardFormat format = CardFormat::HuggingFace;
};

// The tensors become model.safetensors.
void write_hf_folder(const std::string& directory, const HfFolder& folder, const std::vector<SafeTensor>& tensors,
                     const Progress& progress);

}  // namespace attar
