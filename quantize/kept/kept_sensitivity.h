// What was measured before anything is quantized, on disk under the hash of all that it depends on: another budget of
// the same model on the same text takes it from there.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "compress/kept/kept_file.h"
#include "quantize/measure/sensitivity.h"

namespace attar {

// Of a survey the walk needs no more than this.
struct Measured {
  Sensitivity sensitivity;
  at::Tensor embedding;  // Survey::embedding, (C, C) f64
  at::Tensor streams;    // Survey::streams, (L, C) f64
};

Identity sensitivity_identity(const std::string& model_hash, const std::vector<TokenBatch>& sequences,
                              const std::vector<TensorType>& types, Rounding rounding);

class KeptSensitivity {
 public:
  // An empty folder: nothing is kept.
  KeptSensitivity(const std::string& folder, Identity identity);

  // What is there of this identity, for a model of this config. What cannot be used is none, and `note` says why.
  std::optional<Measured> take(const ModelConfig& config, std::string& note) const;
  void keep(const Measured& measured) const;

  // Where what goes before the measures is kept while they are made.
  KeptAt partial() const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Identity identity_;
};

}  // namespace attar
