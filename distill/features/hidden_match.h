// Hidden states of a student brought to those of its teacher, one pair of layers (FitNets, Romero et al. 2015, arXiv
// 1412.6550; TinyBERT, Jiao et al. 2020, arXiv 1909.10351, eq. 8). A token's distance is over the square of what the
// teacher has there, so that the few tokens with huge states do not drown the others.
#pragma once

#include <ATen/core/Tensor.h>

#include "compress/shards.h"

namespace attar {

// How heavy each is, over the tokens of a step; 0 for not at all.
struct HiddenWeights {
  double mse = 0.0, cosine = 0.0;
};

struct HiddenPair {
  at::Tensor student;     // (N, Cs) f32
  at::Tensor teacher;     // (N, Ct) f32
  at::Tensor projection;  // (Ct, Cs) f32; undefined: Cs = Ct, states are compared as they are
  at::Tensor counted;     // (N) bool: tokens that are looked at
};

struct HiddenMatch {
  double mse = 0.0, cosine = 0.0;  // sums over the tokens, unweighed
  at::Tensor by_student;           // (N, Cs) f32: gradient of the weighed sum
};

// Adds the gradient by the projection to `by_projection` (Ct, Cs) f32 where it is defined. Products in `kind`, f32 or
// bf16; no bit depends on the team.
HiddenMatch match_hidden(Team& team, const HiddenPair& pair, const HiddenWeights& weights, at::ScalarType kind,
                         const at::Tensor& by_projection);

// The projection that hidden_mse likes best of these tokens, with a ridge (double inside). -> (Ct, Cs) f32
at::Tensor fit_projection(const at::Tensor& student, const at::Tensor& teacher);

}  // namespace attar
