// A quantized model learns on the grid of its own file, for the stage and the verb: a block at a time while codes are
// chosen, or the whole from its teacher (quantization-aware distillation).
#pragma once

#include <string>

#include "compress/reparameterization.h"
#include "distill/train.h"
#include "quantize/quantize.h"

namespace attar {

// What QuantizeOptions::block_steps asks for. 0 steps: nothing. No bit depends on `threads`.
BlockLearner block_learner(int64_t steps, int threads);

// The training that the options ask for: their losses (usually KL to the teacher) at temperature 1, AdamW without
// decay, a rate that falls linearly to 0. What is left of the rate at the end is left as noise of the codes: latents
// near the border of two codes go to and fro (Nagel et al. 2022, arXiv 2203.11086, section 2).
DistillOptions qad_training(const QadOptions& options);

struct GridTraining {
  CausalLM student;                  // what the bytes decode to
  Reparameterizations parameters{};  // of what is in blocks
  TrainResult trained{};
};

// Trains `quantized`, whose codes were chosen for `original`: its bytes become, bit for bit, what the last step left.
// `inputs` say what to learn from.
GridTraining train_on_grid(const CausalLM& original, QuantizedModel& quantized, const TokenizerData& tokenizer,
                           TrainInputs inputs, const QadOptions& options, const DistillOptions& training,
                           const Progress& progress);

// The end of such a training, from the folder of a checkpoint that holds `student` and `parameters`, without a step.
void restore_trained(const std::string& folder, const CausalLM& original, QuantizedModel& quantized,
                     const QadOptions& options, int threads);

// JSON for the report: steps, tokens, and the KL divergence on the training data over the first tenth of the steps,
// while the learning rate rises, and over the last. It is KL(teacher || student) whatever the losses are that the
// options learn by: train_on_grid has it measured beside them.
std::string qad_results(const TrainResult& trained, const QadOptions& options);

}  // namespace attar
