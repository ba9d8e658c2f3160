// A Hugging Face directory: weights, config.json, tokenizer files, model card; written aside and renamed.
#pragma once

#include <functional>
#include <string>

#include "export/export.h"

namespace attar {

struct HfFolder {
  const ModelConfig& config;
  const TokenizerData& tokenizer;
  const ExportInfo& info;
  std::string numbers;      // what the card says of them
  std::string config_json;  // made before anything is written, for it may refuse
};

// `write_tensors` makes the file model.safetensors at its path.
void write_hf_folder(const std::string& directory, const HfFolder& folder,
                     const std::function<void(const std::string& path)>& write_tensors);

}  // namespace attar
