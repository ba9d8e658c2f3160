// config.json of a Hugging Face directory, in and out, in both spellings (transformers 4 and 5).
#pragma once

#include <string>

#include "runtime/formats/config.h"
#include "runtime/formats/model_file.h"

namespace attar {

// Error{Input} naming file and key: missing, wrong type, unknown architecture, quantization_config present.
ModelConfig read_hf_config(const std::string& directory);

// Name, licence and base models out of the model card's front matter and the folder's name.
Provenance read_hf_provenance(const std::string& directory);

// The lines of a card's front matter that read_hf_provenance reads back.
std::string hf_card_provenance(const Provenance& provenance);

// The JSON text of config.json. Error{Usage} with the reason when the family's class cannot express the config (uneven
// layers).
std::string hf_config_json(const ModelConfig& config, const std::string& dtype, const TokenizerData& tokenizer);

// The same, with `attar_layers` when the layers are uneven: for Attar's own checkpoints.
std::string checkpoint_config_json(const ModelConfig& config, const TokenizerData& tokenizer);

}  // namespace attar
