// The trainer: an optimizer and a schedule, accumulation with one global token denominator, clipping, atomic
// checkpoints, exact resume. How a step is cut depends on its sizes alone, so the number of threads changes no bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/reparameterization.h"
#include "compress/token_dataset.h"
#include "runtime/base/progress.h"

namespace attar {

class Ranks;

// Tokens of a batch that go through the model at once: what a pass keeps for the way back, it keeps of these.
inline constexpr int64_t kSliceTokens = 2048;

struct DistillOptions {
  int64_t tokens = 100000;  // loss tokens seen in all, over epochs
  std::map<std::string, double> losses{{"forward_kl", 1.0}};
  std::map<std::string, double> loss_settings{};
  double temperature = 1.0;
  std::map<std::string, double> features{};
  std::vector<std::string> feature_layers{};
  std::string optimizer = "adamw";
  double learning_rate = 3e-4;
  std::string schedule = "cosine";
  double final_learning_rate_ratio = 0.1;
  double warmup = 0.05;
  double decay = 0.2;
  double weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double muon_momentum = 0.8;
  double clip_norm = 1.0;
  double spike_factor = 0.0;
  double ema = 0.0;
  int64_t batch_tokens = 2048;
  int64_t sequence_tokens = 0;  // see with_sequence_tokens
  std::string precision = "fp32";
  std::string device = "cpu";
  bool gradient_checkpointing = false;
  int64_t checkpoint_every_steps = 50;
  std::string signal = "auto";
  int64_t signal_top_k = 64;
  int64_t signal_samples = 24;
  std::string signal_numerics = "fp32";
  std::string unsignalled = "cross_entropy";
  int64_t held_out_tokens = 0;
  int64_t held_out_every_steps = 50;
  std::string keep = "last";
  int64_t patience = 0;
  double position_share = 1.0;
  double curriculum = 0.0;
  double on_policy = 0.0;
  int64_t rollouts = 64;
  int64_t rollout_tokens = 128;
  int64_t rollout_prompt_tokens = 32;
  double rollout_temperature = 1.0;
  double replay = 0.0;
  std::vector<std::string> frozen{};
  int64_t lora_rank = 0;
  double lora_alpha = 16.0;
  std::vector<std::string> lora_targets{};
  bool keep_zeros = false;
};
template <class Visitor>
void visit_rollout_fields(DistillOptions& o, Visitor&& field) {
  field(o.on_policy, "on_policy",
        "share of the steps that learn from what the student itself writes, by what the teacher says of it; 0 for "
        "none");
  field(o.rollouts, "rollouts", "on_policy: texts that the student writes at once, as it is at that time");
  field(o.rollout_tokens, "rollout_tokens", "on_policy: most tokens that it writes in a text");
  field(o.rollout_prompt_tokens, "rollout_prompt_tokens",
        "on_policy: first tokens of a document that it goes on from; of a chat it is all before the first answer");
  field(o.rollout_temperature, "rollout_temperature",
        "on_policy: randomness of what it writes; 1 is its own distribution");
  field(o.replay, "replay",
        "on_policy: share of the texts of such a step that were learned from before, out of the last four writings");
}
template <class Visitor>
void visit_part_fields(DistillOptions& o, Visitor&& field) {
  field(o.frozen, "frozen", "roles of tensors that stay as they are, such as embedding, output");
  field(o.lora_rank, "lora_rank",
        "rank of low-rank adapters (LoRA), which alone are trained and then merged; 0: all weights are trained");
  field(o.lora_alpha, "lora_alpha", "LoRA: adapters count by this over their rank");
  field(o.lora_targets, "lora_targets",
        "LoRA: roles of the matrices that get adapters, such as query, value, down; all of the layers without it");
  field(o.keep_zeros, "keep_zeros",
        "weights of the student's matrices that are 0 stay 0: for a student that was made sparse; adapters (LoRA) keep "
        "to it too");
}
template <class Visitor>
void visit_fields(DistillOptions& o, Visitor&& field) {
  field(o.tokens, "tokens", "tokens to train on, counted where the loss is; the data repeats when it is shorter");
  field(o.losses, "losses", "weights of the losses, such as {forward_kl: 1.0, cross_entropy: 0.1}");
  field(o.loss_settings, "loss_settings",
        "what losses have of their own, such as {jsd_beta: 0.3, reverse_kl_temperature: 2, label_smoothing: 0.1}");
  field(o.temperature, "temperature", "softens both distributions of the distillation losses");
  field(o.features, "features",
        "what the student shares with the teacher inside, with weights, such as {hidden_mse: 0.1}; the teacher runs "
        "beside it");
  field(o.feature_layers, "feature_layers",
        "features: pairs of layers STUDENT:TEACHER that are compared, counted from 0, such as 3:7; all of the "
        "student's, with those of the teacher at equal steps, without it");
  field(o.optimizer, "optimizer",
        "adamw, or muon: matrices of the layers by steps of equal size in all directions, embeddings, head and norms "
        "by AdamW, at the same rate");
  field(o.learning_rate, "learning_rate", "peak learning rate");
  field(o.schedule, "schedule",
        "how the rate falls after the warm-up: cosine, wsd (stays, then falls over the last share, decay, as 1 - "
        "sqrt), linear or constant");
  field(o.final_learning_rate_ratio, "final_learning_rate_ratio",
        "the schedule ends at this share of the peak; not constant");
  field(o.warmup, "warmup", "share of the tokens over which the rate rises linearly");
  field(o.decay, "decay", "wsd: share of the tokens, the last, over which the rate falls");
  field(o.weight_decay, "weight_decay", "decoupled weight decay of matrices");
  field(o.beta1, "beta1", "AdamW: decay of the first moment");
  field(o.beta2, "beta2", "AdamW: decay of the second moment");
  field(o.epsilon, "epsilon", "AdamW: added to the denominator");
  field(o.muon_momentum, "muon_momentum", "Muon: decay of the sum of gradients (Nesterov's)");
  field(o.clip_norm, "clip_norm", "largest global norm of the gradient; 0 for off");
  field(o.spike_factor, "spike_factor",
        "a step whose loss or gradient norm is more than so many times the median of the 64 steps before it changes "
        "nothing, and is counted; 0 for never");
  field(o.ema, "ema",
        "judge by held-out tokens, and give back, the moving average of the weights that keeps this share of itself at "
        "each step, such as 0.999 (less in the first steps); 0 for the weights themselves");
  field(o.batch_tokens, "batch_tokens", "tokens a step that are learned to predict");
  field(o.sequence_tokens, "sequence_tokens",
        "longest sequence, longer documents are cut; 0 for 512, or the model's context where that is shorter");
  field(o.precision, "precision",
        "of matrix products: fp32, bf16 (sums and all else fp32; about twice as fast where the processor multiplies "
        "it) or auto: bf16 where it does");
  field(o.device, "device",
        "where models go forward and back: cpu, cuda (a GPU that LibTorch finds; sums are rounded otherwise there) or "
        "auto: cuda where there is one");
  field(
      o.gradient_checkpointing, "gradient_checkpointing",
      "keep less for the way back and compute layers once more there: less memory, a third more work, the same bytes");
  field(o.checkpoint_every_steps, "checkpoint_every_steps", "steps between checkpoints; 0 for none");
  field(o.signal, "signal",
        "auto, online (the teacher runs beside the student), or kept from the writing of the data or one pass over it: "
        "cached (its top-k), sampled (unbiased, about thirty bytes a token) or hidden (the states that its head makes "
        "logits of, about its width in bytes); auto: cached where all of the data has it and the temperature is 1");
  field(o.signal_top_k, "signal_top_k", "cached: teacher probabilities kept at each token");
  field(o.signal_samples, "signal_samples",
        "sampled: draws at each token, as far as its likeliest tokens leave mass to draw from; 24 are about 30 bytes");
  field(
      o.signal_numerics, "signal_numerics",
      "cached, sampled, hidden: the teacher as it is asked where the data has no signal: fp32 or deployed (int8 "
      "activations, faster), both by the runtime on the processor, or training: by the passes of the training, on its "
      "device and in its precision");
  field(o.unsignalled, "unsignalled",
        "cached, sampled: what a token is learned by that the signal says nothing about, as where a cut vocabulary "
        "spells text anew: cross_entropy (the text itself) or online (the teacher runs beside the student)");
  field(o.held_out_tokens, "held_out_tokens",
        "tokens of the data that are kept apart: the loss on them says whether what is learned carries over; 0 for "
        "none");
  field(o.held_out_every_steps, "held_out_every_steps", "steps between two looks at what is held out");
  field(o.keep, "keep", "what the training gives back: its last weights, or the best by the loss on what is held out");
  field(o.patience, "patience",
        "stop after so many looks at what is held out without a lower loss than before; 0 for never");
  field(o.position_share, "position_share",
        "share of the tokens of a step that the losses look at, such as 0.25: those where the student is least sure, "
        "by the entropy of what it predicts (SE-KD); 1 for all");
  field(o.curriculum, "curriculum",
        "share of the tokens over which documents come in from easy to hard, by the teacher's own loss on them; 0: all "
        "of them from the beginning");
  visit_rollout_fields(o, field);
  visit_part_fields(o, field);
}

// What a cached signal leaves open.
struct SignalGaps {
  double unsignalled = 0;   // share of the loss tokens that it says nothing about
  double dropped_mass = 0;  // mean mass of the teacher on tokens that the student does not have
};

struct TrainStep {
  int64_t step = 0;
  int64_t tokens = 0;  // learned from so far
  double loss = 0, gradient_norm = 0, learning_rate = 0;
  std::map<std::string, double> parts{};  // mean of each loss over the tokens that it is of
  std::optional<SignalGaps> gaps{};       // of this step; cached alone
  std::optional<double> held_out{};       // mean loss on what is held out, after this step; where it was looked at
  std::optional<double> agreement{};      // share of the tokens with a teacher whose likeliest token is the teacher's
  bool on_policy = false;                 // of text that the student wrote
  bool skipped = false;                   // a spike, or not finite: it changed nothing
};
// Text that a student wrote to learn from.
struct RolloutCount {
  int64_t texts = 0, tokens = 0;
  int64_t ended = 0;  // texts that ended by themselves; the others were cut
};
struct TrainResult {
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t skipped_steps = 0;
  bool stopped_early = false;          // patience ran out
  std::optional<int64_t> best_step{};  // keep: best; the weights are those after this step
  std::vector<TrainStep> history{};    // every step, also those before a resume
  std::optional<SignalGaps> gaps{};    // of all steps; cached alone
  RolloutCount rollouts{};
  std::optional<double> zero_share{};  // keep_zeros: of the weights of all matrices those that are 0
  std::string device = "cpu";          // that it was trained on: what auto was, too
};

// What a student writes behind prompts, for it to learn from: a function of its weights and of this.
struct RolloutRequest {
  std::vector<std::vector<int32_t>> prompts{};  // none is empty
  uint64_t first_id = 0;                        // draws behind prompt i are keyed by the seed and first_id + i
  uint64_t seed = 0;
  int64_t max_tokens = 0;
  double temperature = 1.0;
};
struct Rollout {
  std::vector<int32_t> tokens;  // at least one; a token that ends the text is the last
  bool ended = false;           // by itself
};
// -> one a prompt, in their order
using RolloutWriter = std::function<std::vector<Rollout>(const CausalLM& student, const RolloutRequest& request,
                                                         const Progress& progress)>;

struct TrainInputs {
  const CausalLM* teacher = nullptr;          // for online signals; may be nullptr
  std::string teacher_hash{};                 // of its weights: a checkpoint is only resumed beside the same teacher
  std::string student_hash{};                 // of the student as it starts; "": the caller keeps other ones apart
  std::vector<int32_t> student_to_teacher{};  // (Vs) teacher id of each student id; empty: the same
  at::Tensor teacher_head{};                  // (Vt, Ct) f32: for hidden states that are kept with the data
  const TokenDataset* data = nullptr;
  RolloutWriter write_rollouts{};                  // for on_policy
  const TokenDataset* held_out = nullptr;          // of the data; train() sets it
  Reparameterizations* reparameterized = nullptr;  // what is trained in place of tensors of the student; changed
  std::string checkpoint_directory{};              // "": none. Steps go to DIR/step-N
  bool resume = false;                             // from the newest whole checkpoint there
  uint64_t seed = 0;
  int threads = 2;
  Ranks* ranks = nullptr;         // other processes that compute with this one, each with its own number of threads
  std::string stage = "distill";  // what progress calls it
  std::vector<std::string> measured{};  // losses that TrainStep::parts has too where a teacher of the same tokens is
                                        // asked: at temperature 1, and where they have no weight they move nothing
  std::function<void(const TrainStep&)> on_step{};  // told every step of the history, after a resume the old ones first
  // Called before the first step where none of them asks the teacher, as where a curriculum alone went by its loss:
  // it may be freed then.
  std::function<void()> let_teacher_go{};
  bool asked_beside = false;  // needs_teacher_beside() was asked of the data and these options: there is a teacher
                              // where it said so
};

// Whether the student learns from inside the teacher, which then runs beside it.
inline bool asks_features(const DistillOptions& options) {
  return std::any_of(options.features.begin(), options.features.end(),
                     [](const auto& feature) { return feature.second > 0.0; });
}

// Whether the teacher's signal is kept with the data: its likeliest tokens, a sample, or hidden states.
inline bool keeps_signal(const DistillOptions& options) {
  return options.signal == "cached" || options.signal == "sampled" || options.signal == "hidden";
}

// The options with sequence_tokens as a model of this context has it.
DistillOptions with_sequence_tokens(DistillOptions options, int64_t context_tokens);

// Changes `student` in place; tensors that are reparameterized become, before each step and at the end, what their
// parameters stand for. Each step divides by the tokens that it learns from: all those of its loss. Error{Input}:
// no loss tokens, a cached signal asked for that the data lacks. Error{Usage}: checkpoints of an earlier training, and
// no `resume`. Error{Resources}: the options ask for a device that is not here, or its memory ran out. Error{Failure}
// when the loss is not finite in kMostNotFinite steps in a row (spike_guard.h): checkpoints are from before; or when
// another rank has ended. Error{Interrupted} after writing a checkpoint.
TrainResult train(CausalLM& student, const TokenizerData& tokenizer, const TrainInputs& inputs,
                  const DistillOptions& options, const Progress& progress = {});

}  // namespace attar
