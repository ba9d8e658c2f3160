// The only walk over (block, group) in the code: calibrate, change, propagate. Pruning, quantization and allocation use
// it. The statistics of a group are collected after the earlier groups of its block have changed, and later blocks see
// the changed ones (true-sequential, as in GPTQ and SparseGPT).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "compress/causal_lm.h"
#include "runtime/base/progress.h"

namespace attar {

// What a group's linears saw. Sums in double over all calibration tokens.
struct LinearStats {
  int64_t tokens = 0;
  at::Tensor sum_squares;  // (in) f64: sum over tokens of x_j^2
  at::Tensor gram;         // (in, in) f64: X^T X; undefined unless asked for
  at::Tensor sum_abs;      // (in) f64
};

struct WalkOptions {
  std::array<bool, kGroups> gram{};  // which groups' X^T X to collect
  int threads = 1;                   // batches side by side; changes no bit
};

// visit(layer, group, stats): layer == L with LinearGroup::Down stands for the head (input: final norm's output).
using GroupVisitor = std::function<void(int64_t layer, LinearGroup group, const LinearStats& stats)>;

// `calibration` batches of a few thousand tokens each; hidden states of all batches are kept (f32).
void walk_blocks(CausalLM& model, const std::vector<TokenBatch>& calibration, const WalkOptions& options,
                 const GroupVisitor& visit, std::string_view stage, const Progress& progress = {});

}  // namespace attar
