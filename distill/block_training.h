// A block of a model learns by itself to give what it is asked to: block reconstruction (BRECQ, Li et al. 2021, arXiv
// 2102.05426, section 3), by which a quantized block learns its rounding (SignRound, Cheng et al. 2023, arXiv
// 2309.05516). AdamW moves its parameters at a rate that falls linearly to 0. A part of the examples judges, and of the
// states that were judged, the start among them, the best is kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "compress/shards.h"

namespace attar {

struct BlockExample {
  TokenBatch batch;
  at::Tensor given;   // (N, C) f32: what the block is given
  at::Tensor wanted;  // (N, C) f32: what it should give
};
struct BlockExamples {
  std::vector<BlockExample> of{};
  at::Tensor channels{};  // (C) how much an error of each channel counts; undefined: all alike
};

struct BlockTrainingOptions {
  int64_t steps = 200;
  int64_t batch_tokens = 2048;            // of a step
  double travel = 0.5;                    // how far a parameter may go in all, in units of its learning rate's ratio
  Precision precision = Precision::Fp32;  // of what it learns from; it is judged in f32
  uint64_t seed = 0;                      // of the order of the examples
  int threads = 1;                        // changes no bit
};

// Errors of the block's outputs on the examples that judge, over the energy of what is wanted.
struct BlockTrainingResult {
  double before = 0, after = 0;
};

// `block`: a model that has its one layer alone. Of that `parameters` alone are trained; afterwards both are the state
// that is kept, the start to the bit where none was better. `between` is called in front of each step and of each
// example that judges, and may throw.
BlockTrainingResult train_block(CausalLM& block, Reparameterizations& parameters, const BlockExamples& examples,
                                const BlockTrainingOptions& options, const std::function<void()>& between = {});

// What outputs (N, C) f32 are held against.
struct OutputTarget {
  at::Tensor wanted;    // (N, C) f32
  at::Tensor tokens;    // (N) f32: how much each token counts
  at::Tensor channels;  // (C) f32
};
// The sum of tokens * channels * (outputs - wanted)^2, in double. `scale` times its gradient by the outputs is written
// to by_outputs (N, C) where that is defined; it may be `outputs`.
double output_error(Team& team, const at::Tensor& outputs, const OutputTarget& target, double scale = 1.0,
                    const at::Tensor& by_outputs = {});

}  // namespace attar
