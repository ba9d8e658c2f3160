// What quantization asks of the model on text before it changes anything: how much the predictions depend on what each
// linear gives, and how its inputs vary.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/kept/kept_file.h"
#include "compress/weight_source.h"
#include "runtime/base/progress.h"

namespace attar {

// One place where a tensor's error matters: outputs (out) f64, how much each counts; inputs (in) f64, what an error in
// the weights of each leaves by itself, and where those after it make up for it.
struct ErrorMetric {
  at::Tensor outputs, alone, fed_back;
};

struct Survey {
  std::map<std::string, std::vector<ErrorMetric>> metrics;  // by name, of the matrices; a tied embedding has two places
  std::map<std::string, std::vector<float>> weights;        // (in) what scales are searched under
  at::Tensor embedding;  // (C, C) f64: what the columns' errors in a row of the embedding cost, wherever it is used
  at::Tensor streams;    // (L, C) f64: what errors of the residual stream behind each block cost
};

// `kept`: of the gradients' sums, compress/fisher.h.
Survey take_survey(const WeightSource& weights, const std::vector<TokenBatch>& sequences, int threads,
                   const Progress& progress = {}, const KeptAt& kept = {});

}  // namespace attar
