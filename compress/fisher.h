// How much the model's predictions depend on what each of its linears gives: Fisher information of outputs, from the
// gradients of labels that the model itself draws, so that it is the curvature of the KL divergence from the model as
// it is (Martens 2020, arXiv 1412.1193, sections 5 and 9.2). With the inputs' it makes a Kronecker factored metric of
// weights (Martens and Grosse 2015, arXiv 1503.05671): an error E (out, in) of a linear costs about
//   1/2 sum_o g_o (E H E^T)_oo      nats a token,
// g_o the mean over tokens of the squared gradient by output o and H (in, in) that of x x^T.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/kept/kept_file.h"
#include "compress/precision.h"
#include "compress/weight_source.h"
#include "runtime/base/progress.h"

namespace attar {

struct OutputFisher {
  int64_t tokens = 0;
  std::map<std::string, at::Tensor> outputs;  // by name of a block's matrix: (out) f64
  at::Tensor streams{};                       // (L, C) f64: of the residual stream behind each block
  at::Tensor head;                            // (V) f64: of each logit by itself, mean of p (1 - p)
  at::Tensor lookups;                         // (C, C) f64: mean of g g^T, g the gradient by an embedded token
};

// `sequences` of a few hundred tokens. Labels are drawn by (seed, sequence, position). Memory: the embedding and
// the head, a layer at a time, the hidden states of kFisherWave sequences at every layer, and what one block keeps for
// its gradients. No bit depends on threads. `kept`: where the sums so far are kept, wave by wave, for a run that is
// broken off; whoever passes it removes it at the end.
inline constexpr int64_t kFisherWave = 4;
OutputFisher output_fisher(const WeightSource& weights, const std::vector<TokenBatch>& sequences, uint64_t seed,
                           Precision precision, int threads, const Progress& progress = {}, const KeptAt& kept = {});

}  // namespace attar
