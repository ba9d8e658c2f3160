// A model (and what a trainer needs to go on) on disk: DIR/model.safetensors + config.json + tokenizer files, so that
// it is a Hugging Face directory too, and DIR/state.json. Written aside, published whole.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "compress/causal_lm.h"

namespace attar {

// `extra` tensors (optimizer moments) go to DIR/extra.safetensors, `state_json` to DIR/state.json. Uneven layers are
// written too (attar_layers in config.json), although other tools cannot load them. `when_read` is called once no
// tensor is needed any more: what is left is to bring the bytes to the disk.
void write_checkpoint(const std::string& directory, const CausalLM& model, const TokenizerData& tokenizer,
                      const Provenance& provenance, const std::map<std::string, at::Tensor>& extra,
                      const std::string& state_json, const std::function<void()>& when_read = {});

struct Checkpoint {
  CausalLM model;
  TokenizerData tokenizer;
  std::map<std::string, at::Tensor> extra;
  std::string state_json;
};
Checkpoint read_checkpoint(const std::string& directory);

}  // namespace attar
