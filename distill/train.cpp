#include "distill/train.h"

#include <algorithm>

#include "compress/shards.h"
#include "distill/features/feature_match.h"
#include "distill/parts/kept_zeros.h"
#include "distill/parts/lora.h"
#include "distill/pass/device.h"
#include "distill/ranks/ranks.h"
#include "distill/signal_source.h"
#include "distill/trainer.h"
#include "distill/training_batches.h"

namespace attar {

DistillOptions with_sequence_tokens(DistillOptions options, int64_t context_tokens) {
  constexpr int64_t kUsual = 512;
  if (options.sequence_tokens == 0) options.sequence_tokens = std::min(kUsual, context_tokens);
  return options;
}

TrainResult train(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs,
                  const DistillOptions& given, const Progress& progress) {
  const OwnKernels own_kernels;
  DistillOptions options = with_sequence_tokens(given, student.config.context_length);
  options.device = device_here(options.device);
  TrainInputs of = inputs;
  if (of.ranks != nullptr) of.threads = of.ranks->threads();
  TokenDataset learned, held_out, cut;
  Reparameterizations parts;
  if (of.reparameterized == nullptr) {
    parts = trained_parts(student, options, of.seed);
    of.reparameterized = &parts;
  }
  if (options.held_out_tokens > 0) {
    learned = *inputs.data;
    held_out = cut_documents(hold_out(learned, options.held_out_tokens, inputs.seed), options.sequence_tokens);
    of.data = &learned, of.held_out = &held_out;
  }
  if (of.data->longest_tokens() > options.sequence_tokens) {
    cut = cut_documents(*of.data, options.sequence_tokens);
    of.data = &cut;
  }
  if (asks_features(options)) {
    signal_source(of, options);  // refuses what teacher and data cannot give
    (*of.reparameterized)[kProjections] = fitted_projections(student, of, options);
  }
  TrainResult result;
  within_device_memory(options.device, of.stage,
                       "gradient_checkpointing: true and shorter sequences (sequence_tokens) need less",
                       [&] { result = Trainer(student, tokenizer, of, options, progress).run(); });
  result.device = options.device;
  if (options.keep_zeros) result.zero_share = zero_share(student);
  return result;
}

}  // namespace attar
