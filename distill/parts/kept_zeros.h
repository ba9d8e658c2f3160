// A student that was made sparse elsewhere (SparseGPT, arXiv 2301.00774; Wanda, arXiv 2306.11695) and keeps its zeros
// while it learns: what is trained in place of a matrix stands for its weights under a mask, and so does any step.
#pragma once

#include "compress/causal_lm.h"
#include "compress/reparameterization.h"

namespace attar {

// Puts every matrix that has weights of 0 under a mask of the others, as they are now: what stands for it in `parts`,
// or else "latent" (out, in), which starts as the matrix is. A frozen one stays as it is. Error{Usage}: no matrix has
// any.
void keep_zeros(const CausalLM& student, Reparameterizations& parts);

// Of the weights of all matrices those that are 0.
double zero_share(const CausalLM& model);

}  // namespace attar
