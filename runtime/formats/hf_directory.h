// config.json of a Hugging Face directory, in and out, in both spellings (transformers 4 and 5).
#pragma once

#include <string>

#include "runtime/formats/config.h"

namespace attar {

// Error{Input} naming file and key: missing, wrong type, unknown architecture, quantization_config present.
ModelConfig read_hf_config(const std::string& directory);

// The JSON text of config.json. Error{Usage} with the reason when the family's class cannot express the config (uneven
// layers).
std::string hf_config_json(const ModelConfig& config, const std::string& dtype, int32_t bos, int32_t eos, int32_t pad);

}  // namespace attar
