// The only walk over (block, group) in the code: calibrate, change, propagate. Pruning, quantization and allocation use
// it. The statistics of a group are collected after the earlier groups of its block have changed, and later blocks see
// the changed ones (true-sequential, as in GPTQ and SparseGPT).
//
// Memory beside the model: the hidden states of all tokens (twice with a full-precision stream), what a group is given
// for kWaveBatches batches a thread, and one X^T X. Inputs are not kept across a visit unless the visitor says so, but
// computed again from the model as it left it, so whatever it changed is seen: a narrower input, or a norm folded into
// the weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/weight_source.h"
#include "runtime/base/progress.h"

namespace attar {

// What a group's linears saw, X (N, in). Sums in double over all calibration tokens; a token whose input has more than
// kLoudest times the energy of its batch's median is scaled down to that, in every sum: attention sinks, mostly first
// tokens of a window, carry most of the energy of some inputs ("massive activations", Sun et al. 2024, arXiv
// 2402.17762, section 2), and a fit to one token in 512 says little about the others.
struct LinearStats {
  int64_t tokens = 0;
  at::Tensor sum_squares;     // (in) f64: sum over tokens of x_j^2
  at::Tensor gram;            // (in, in) f64: X^T X
  at::Tensor target;          // (out, in) f64: Y^T X, Y (N, out) what the linear gave in the model as it was
  double target_squares = 0;  // sum of Y^2
  // How a full-precision stream, of the model as it was, has moved away from this one: (X' - X)^T X of the inputs, and
  // (H' - H)^T X of the hidden states (N, C) that the linear adds to, where it ends a half of the block and what it
  // gives is added as it is: a sandwich norm in between makes other units of it.
  at::Tensor input_drift{};   // (in, in) f64
  at::Tensor stream_drift{};  // (C, in) f64
};
inline constexpr double kLoudest = 16.0;
// What each token counts in such sums, as a factor of its row: 1, or less for one that is too loud. x (N, n) -> (N, 1)
at::Tensor loudness_factors(const at::Tensor& x);

struct GroupVisit {
  // Change: the visitor may change the model, which costs the group's inputs again. Look: it does not.
  enum Kind { None, Look, Change } kind = None;
  bool gram = false;    // collect X^T X
  bool target = false;  // collect Y^T X along a full-precision stream; of AttentionOutput and Down
  bool drift = false;   // collect input_drift and stream_drift
  // The visitor changes the group's linears alone: its inputs are kept for the step behind it, those of as many batches
  // as kKeptInputBytes hold, and not made a second time. No bit depends on it.
  bool keeps_inputs = false;
};
// A layer behind its visits.
struct WalkedLayer {
  const CausalLM& original;                // its tensors as the walk found them, and maybe others
  const std::vector<TokenBatch>& batches;  // a stream is a tensor for each
  const std::vector<at::Tensor>& before;   // (N, C) what the model gives the layer
  const std::vector<at::Tensor>& whole;    // (N, C) what the layer gives in the model as it was
};
struct WalkOptions {
  std::array<GroupVisit, kGroups> visits{};  // by LinearGroup
  int threads = 1;                           // changes no bit
  // Where set: a layer of the model is read from here before it is walked and dropped after it, and so is the final
  // norm; the model has its embedding alone. (nullptr: the model has all of its tensors, and keeps them.)
  const WeightSource* weights = nullptr;
  // (vocabulary, C): what a full-precision stream starts from; undefined: the model's own.
  at::Tensor whole_embedding{};
  // Layers that an earlier walk has finished are not visited: restore(layer) leaves the model's tensors as that walk's
  // visitor did, and the streams pass through. Such a walk goes on with the bits of an unbroken one.
  int64_t finished_layers = 0;
  std::function<void(int64_t layer)> restore{};
  // Where set, it is called behind the last group of each layer that is visited, where Down's may change the model, and
  // may change all of the layer once more. A third stream is kept for it through the layer, and Down's inputs are not.
  std::function<void(int64_t layer, const WalkedLayer& walked)> revise{};
};
inline constexpr int64_t kKeptInputBytes = int64_t{192} << 20;  // SmolLM2: 32,768 tokens of the widest inputs
inline constexpr int64_t kWaveBatches = 2;                      // a thread: batches whose inputs are live at once

// The head's layer is the number of layers. A visitor may change the group's linears, and whatever leaves the model's
// function before the group as it was: the norm in front of it, the rows that make its inputs.
using GroupVisitor = std::function<void(int64_t layer, LinearGroup group, const LinearStats& stats)>;

// `calibration` batches of a few thousand tokens each.
void walk_blocks(CausalLM& model, const std::vector<TokenBatch>& calibration, const WalkOptions& options,
                 const GroupVisitor& visit, std::string_view stage, const Progress& progress = {});

}  // namespace attar
