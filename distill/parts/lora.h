// What of a student a training moves where it is not all of it: frozen roles, or low-rank adapters beside frozen
// weights (LoRA, Hu et al. 2021, arXiv 2106.09685, section 4.1): W = W0 + alpha / rank * B A, which the trained model
// holds merged.
#pragma once

#include <cstdint>

#include "compress/reparameterization.h"
#include "distill/train.h"

namespace attar {

// For each adapted matrix (out, in): "lora_a" (rank, in), uniform as Kaiming has it, and "lora_b" (out, rank), 0. All
// else is frozen. Without lora_rank: what `frozen` names. The matrices as they are now are kept. With keep_zeros all of
// it lies under the masks of kept_zeros.h.
Reparameterizations trained_parts(const CausalLM& student, const DistillOptions& options, uint64_t seed);

}  // namespace attar
