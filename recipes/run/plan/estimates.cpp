#include "recipes/run/plan/estimates.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <string>

#include "compress/block_walk.h"
#include "compress/dataset/signal_shards.h"
#include "compress/shards.h"
#include "compress/signal/hidden_states.h"
#include "distill/block_training.h"
#include "distill/head_loss.h"
#include "distill/optimizer/muon.h"
#include "distill/pass/device.h"
#include "distill/signal_source.h"
#include "distill/train.h"
#include "quantize/calibration.h"
#include "quantize/quantize.h"
#include "recipes/arms/arms.h"
#include "recipes/run/baseline.h"
#include "recipes/run/qad.h"
#include "recipes/schema/inputs.h"
#include "runtime/formats/numerics.h"
#include "runtime/judge/verify.h"

namespace attar {
namespace {

// Shares of matmul_flops_per_core that the stages reach, on two cores with AVX-512 VNNI; int8 work counts as if it were
// f32.
constexpr double kTrainShare = 0.34;      // forward, backward and the optimizer, in LibTorch
constexpr double kWalkShare = 0.34;       // the block walk of pruning and calibration
constexpr double kFeedbackShare = 0.11;   // that of quantization: two streams, inputs made again, how they vary
constexpr double kSurveyPasses = 10.0;    // forward twice and back for sensitivities, forward for inputs
constexpr double kSearchFlops = 16000.0;  // choosing the codes of one weight
constexpr double kBytesPerToken = 4.0;    // of English text
constexpr double kOneDnnBytes = 1.2e8;    // what oneDNN keeps of its kernels from its first products on
constexpr double kBenchSeconds = 10.0;    // both models
constexpr double kBatchTokens = 1024.0;   // of a batch of calibration data
constexpr double kFitGrams = 8.0;         // X^T X of the widest linear, and what its fit makes of it, at most
constexpr double kWrittenAtOnce = 16.0;   // texts by the teacher
constexpr double kCheckpoints = 2.0;      // of a training that stay on the disk
constexpr double kGridBytes = 10.0;       // a weight that is trained on its grid: latents, scales, what was given
constexpr double kBlockBytes = 34.0;      // a weight of a block that learns: latents twice, moments, gradients, weights

struct RuntimeShare {
  double fp32, deployed;
  double of(const std::string& numerics) const {
    if (numerics == kTrainingNumerics) return kTrainShare;
    return numerics_of(numerics, "numerics") == Numerics::Fp32 ? fp32 : deployed;
  }
};
constexpr RuntimeShare kWriteShare{.fp32 = 0.34, .deployed = 0.65};  // the teacher writes text, 16 sequences at once
constexpr RuntimeShare kReadShare{.fp32 = 0.53, .deployed = 1.27};   // over whole texts

double parameters(const ModelConfig& config) {
  return static_cast<double>(config.parameter_count());
}
// Of embedding and head.
double embedding_parameters(const ModelConfig& config) {
  return static_cast<double>(config.vocab_size * config.width) * (config.tied_embeddings ? 1.0 : 2.0);
}

double widest_input(const ModelConfig& config) {
  int64_t widest = config.width;
  for (const LayerConfig& layer : config.layers)
    widest = std::max({widest, layer.ffn_width, layer.n_heads * layer.head_dim});
  return static_cast<double>(widest);
}
double gram_bytes(const ModelConfig& config) {
  return 8.0 * widest_input(config) * widest_input(config);
}

// The block walk over the student: streams of hidden states, what a group is given for the batches of a wave, and what
// the batches that are on their way at once make: gate, up and their product, and some of the model's width.
double walk_bytes(const PlannedRun& run, double tokens, double streams) {
  const double width = static_cast<double>(run.student.width), widest = widest_input(run.student);
  const double wave = std::min(tokens, static_cast<double>(kWaveBatches) * run.threads * kBatchTokens),
               at_once = std::min(tokens, static_cast<double>(run.threads) * kBatchTokens);
  return 4.0 * (tokens * streams * width + wave * (widest + width) + at_once * (3.0 * widest + 6.0 * width));
}

// The teacher in the runtime, its file while that is loaded, and the keys and values of the texts written at once.
double writing_bytes(const PlannedRun& run) {
  double values = 0, longest = 0;  // of a token; tokens
  bool fp32 = false;
  for (const LayerConfig& layer : run.teacher.layers)
    values += 2.0 * static_cast<double>(layer.n_kv_heads * layer.head_dim);
  for (const auto* split : {&run.recipe.train, &run.recipe.calibration})
    for (const DataSource& source : *split)
      if (source.teacher_writes) {
        longest = std::max(longest, static_cast<double>(source.teacher_writes->max_tokens));
        fp32 = fp32 || source.teacher_writes->numerics == "fp32";
      }
  return run.teacher_bytes + (fp32 ? 4.0 * parameters(run.teacher) : run.teacher_bytes) +
         (fp32 ? 4.0 : 2.0) * kWrittenAtOnce * longest * values;
}

// Of a weight as products read it in host memory, beside its f32.
double product_bytes(const DistillOptions& options) {
  return options.precision == "fp32" || learns_on_gpu(options) ? 0.0 : 2.0;
}

bool written_with_signal(const Recipe& recipe) {
  return std::all_of(recipe.train.begin(), recipe.train.end(),
                     [](const DataSource& source) { return source.signal_k() > 0; });
}

// Weights, moments, their average, gradients, the weights as products read them, and what a slice of a batch keeps for
// the way back, unless that lies on a GPU. A teacher of `online` parameters beside the student (0: none).
Estimate estimate_training(const PlannedRun& run, const DistillOptions& options, const ModelConfig& config,
                           double online) {
  const double n = parameters(config), tokens = static_cast<double>(options.tokens);
  const double at_once = static_cast<double>(std::min(options.batch_tokens, kSliceTokens));
  const bool again = options.gradient_checkpointing;  // the inside of a layer
  double kept = 0;                                    // f32 values a token
  for (const LayerConfig& layer : config.layers) {
    const double inside = 2.0 * static_cast<double>(config.width + layer.ffn_width) +
                          2.0 * static_cast<double>((layer.n_heads + layer.n_kv_heads) * layer.head_dim);
    kept += again ? static_cast<double>(config.width) : inside;
  }
  if (learns_on_gpu(options)) kept = 0;
  const double products = product_bytes(options);
  const double logits = std::min(static_cast<double>(kHeadLossBytes),
                                 (online > 0.0 ? 8.0 : 4.0) * at_once * static_cast<double>(config.vocab_size));
  const double steps = tokens / static_cast<double>(options.batch_tokens),
               every = static_cast<double>(options.checkpoint_every_steps),
               checkpoints = every > 0 ? std::min(kCheckpoints, std::floor(steps / every)) : 0.0;
  const bool muon = options.optimizer == "muon";
  const double latents = options.keep_zeros ? 4.0 : 0.0;  // in the weights' place, beside a byte that says which are 0
  const double average = options.ema > 0.0 ? 4.0 : 0.0, best = options.keep == "best" ? 4.0 : 0.0,
               second = muon ? 4.0 * embedding_parameters(config) : 4.0 * n;   // moments, bytes
  const double written = options.on_policy * (1.0 - options.replay) * tokens;  // by the student itself
  return {.tokens = tokens,
          .seconds = (((again ? 8.0 : 6.0) * n + 2.0 * online) * tokens + (muon ? steps * muon_flops(config) : 0.0)) /
                         (kTrainShare * run.flops) +
                     2.0 * n * written / (kWriteShare.deployed * run.flops),
          .memory_bytes = (12.0 + average + 1.25 * latents + products) * n + second + (4.0 + products) * online +
                          4.0 * at_once * kept + logits,
          .disk_bytes = (4.0 + best + (8.0 + average + latents) * checkpoints) * n + second * checkpoints};
}

// A training of the student from the teacher or its signal.
Estimate estimate_learning(const PlannedRun& run, const DistillOptions& options) {
  const bool sampled = options.signal == "sampled", hidden = options.signal == "hidden";
  const bool captured = sampled || hidden || (options.signal == "cached" && !written_with_signal(run.recipe));
  const double teacher = parameters(run.teacher);
  Estimate estimate = estimate_training(run, options, run.student, learns_beside(run, options) ? teacher : 0.0);
  if (captured) {
    const double text = tokens_of(run.recipe, run.recipe.train);
    estimate.seconds += 2.0 * teacher * text / (kReadShare.of(options.signal_numerics) * run.flops);
    constexpr double kSampledBytes = 32.0;
    constexpr double kTextBytes = 9.0;  // of a token that is learned: its id, whether it counts, where its signal lies
    const double of_token = 5.0 + (sampled  ? kSampledBytes
                                   : hidden ? static_cast<double>(hidden_bytes(run.teacher.width))
                                            : 8.0 * static_cast<double>(options.signal_top_k));
    if (options.signal_numerics == kTrainingNumerics)  // before the first step, the student is its weights alone
      estimate.memory_bytes = std::max(estimate.memory_bytes,
                                       (4.0 + product_bytes(options)) * teacher + 4.0 * parameters(run.student) +
                                           std::min(static_cast<double>(kHeadLossBytes),
                                                    4.0 * static_cast<double>(kSliceTokens * run.teacher.vocab_size)));
    constexpr ShardSize shard{};
    const double waits = std::min({text * of_token, static_cast<double>(shard.most_bytes),
                                   std::max(static_cast<double>(shard.tokens), text / 16.0) * of_token});
    estimate.disk_bytes += text * of_token;
    estimate.memory_bytes += kTextBytes * text + 2.0 * waits;  // a shard, and the file that is made of it
    if (hidden) estimate.memory_bytes += 4.0 * embedding_parameters(run.teacher);  // its head
  }
  if (options.curriculum > 0.0) {  // it reads the text before the first step, when the student is its weights alone
    estimate.seconds += 2.0 * teacher * tokens_of(run.recipe, run.recipe.train) / (kTrainShare * run.flops);
    estimate.memory_bytes =
        std::max(estimate.memory_bytes, (4.0 + product_bytes(options)) * (teacher + parameters(run.student)));
  }
  return estimate;
}

// The trainings beside the one that was asked for, one after another, and all of them judged. The stage's tokens stay
// those of the student.
void add_arms(const PlannedRun& run, const DistillStage& options, Estimate& estimate) {
  const double pairs = static_cast<double>(arms_trained(run, options)) / 2.0;  // by the losses, and without
  const Estimate taught = estimate_training(run, options, run.student,
                                            learns_beside(run, options) ? parameters(run.teacher) : 0.0),
                 plain = estimate_training(run, cross_entropy_alone(options), run.student, 0.0);
  const double judged = 2.0 * (parameters(run.teacher) + parameters(run.student)) *
                        tokens_of(run.recipe, run.recipe.evaluation) / (kReadShare.fp32 * run.flops);
  estimate.seconds += (pairs - 1.0) * taught.seconds + pairs * (plain.seconds + 2.0 * judged);
  estimate.memory_bytes = std::max(estimate.memory_bytes + 4.0 * parameters(run.student),
                                   4.0 * (parameters(run.teacher) + 2.0 * parameters(run.student)) + run.teacher_bytes);
}

// Measures, a walk and a search of codes, of the model `config`.
Estimate estimate_codes(const PlannedRun& run, const ModelConfig& config, const QuantizeOptions& options,
                        double bytes) {
  const double tokens = options.importance ? std::min(static_cast<double>(calibration_limit_tokens(config, options)),
                                                      tokens_of(run.recipe, run.recipe.calibration))
                                           : 0.0;
  const double surveyed = options.to ? 0.0 : std::min(tokens, static_cast<double>(kSurveyTokens));
  const bool feedback = options.preset != "fast" && tokens > 0.0, learns = feedback && options.block_steps > 0;
  const double body = parameters(config) - embedding_parameters(config),
               read =
                   static_cast<double>(options.block_steps) * static_cast<double>(BlockTrainingOptions{}.batch_tokens);
  return {.tokens = tokens,
          .seconds = 2.0 * body * tokens / ((feedback ? kFeedbackShare : kWalkShare) * run.flops) +
                     kSurveyPasses * parameters(config) * surveyed / (kWalkShare * run.flops) +
                     kSearchFlops * parameters(config) / run.flops +
                     (learns ? 6.0 * body * read / (kTrainShare * run.flops) : 0.0),
          .memory_bytes = 4.0 * parameters(config) +
                          walk_bytes(run, tokens,
                                     learns     ? 3
                                     : feedback ? 2
                                                : 1) +
                          (feedback ? kFitGrams * gram_bytes(run.student) : 0.0) +
                          (learns ? kBlockBytes * body / static_cast<double>(config.n_layers()) : 0.0) + bytes,
          .disk_bytes = 0.0};
}

// The teacher quantized to the student's size and judged, where verify does that.
Estimate estimate_baseline(const PlannedRun& run, double tokens) {
  Estimate estimate = estimate_codes(run, run.teacher, quantizing_alone(run.recipe), run.gguf_bytes);
  estimate.seconds += 4.0 * parameters(run.teacher) * tokens / (kReadShare.deployed * run.flops);
  return estimate;
}

}  // namespace

double matmul_flops_per_core() {
  constexpr int64_t kSize = 384;
  const OwnKernels own_kernels;
  const at::Tensor a = at::ones({kSize, kSize}), b = at::ones({kSize, kSize});
  double fastest = 1.0;
  for (int i = 0; i < 12; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm(a, b);
    fastest = std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * kSize * kSize * kSize / fastest;
}

double product_kernel_bytes() {
  return multiplies_with_onednn() ? kOneDnnBytes : 0.0;
}

double requests_of(const Recipe& recipe, const EndpointWrites& options) {
  const double all =
      static_cast<double>(recipe_documents(recipe, options.prompts).size()) * static_cast<double>(options.samples);
  return std::min(all, std::ceil(static_cast<double>(options.tokens) / static_cast<double>(options.max_tokens)));
}

double tokens_of(const Recipe& recipe, const DataSource& source) {
  if (source.teacher_writes) return static_cast<double>(source.teacher_writes->tokens);
  if (const auto& options = source.endpoint_writes)
    return std::min(static_cast<double>(options->tokens),
                    requests_of(recipe, *options) * static_cast<double>(options->max_tokens));
  if (source.from_train > 0) {
    double train = 0;
    for (const DataSource& one : recipe.train) train += tokens_of(recipe, one);
    return std::min(train, static_cast<double>(source.from_train));
  }
  double bytes = 0;
  for (const RecipeText& text : recipe_texts(recipe, source.file))
    bytes += (text.path.ends_with(".gz") ? 3.0 : 1.0) * static_cast<double>(std::filesystem::file_size(text.path));
  return source.weight * bytes / kBytesPerToken;
}
double tokens_of(const Recipe& recipe, const std::vector<DataSource>& split) {
  double tokens = 0;
  for (const DataSource& source : split) tokens += tokens_of(recipe, source);
  return tokens;
}

bool learns_beside(const PlannedRun& run, const DistillOptions& options) {
  if (always_beside(options)) return true;
  if (!asks_a_teacher(options)) return false;
  const bool kept = keeps_signal(options) ||
                    (options.signal == "auto" && other_temperature(options) == 1.0 && written_with_signal(run.recipe));
  return !kept || (options.unsignalled == "online" && run.student.vocab_size < run.teacher.vocab_size);
}

bool learns_on_gpu(const DistillOptions& options) {
  return options.device == "cuda" || (options.device == "auto" && has_cuda());
}

int64_t arms_trained(const PlannedRun& run, const DistillStage& options) {
  const bool from_scratch = run.recipe.student && run.recipe.student->model.empty() && !run.taught;
  const int64_t starts = from_scratch ? 1 : 2;  // random weights, and the student's where they are others
  return 2 * starts * options.arm_seeds;        // by the losses and by cross-entropy alone
}

Estimate estimate_teacher(const PlannedRun& run) {
  return estimate_training(run, *run.recipe.teacher.pretrain, run.teacher, 0.0);
}

Estimate estimate_data(const PlannedRun& run) {
  double written = 0, stored = 0, work = 0, waiting_s = 0;
  for (const auto* split : {&run.recipe.train, &run.recipe.calibration})
    for (const DataSource& source : *split) {
      const double tokens = tokens_of(run.recipe, source);
      if (source.teacher_writes) {
        written += tokens;
        work += tokens / kWriteShare.of(source.teacher_writes->numerics);
      }
      if (const auto& options = source.endpoint_writes; options && options->requests_per_minute > 0)
        waiting_s += 60.0 * requests_of(run.recipe, *options) / static_cast<double>(options->requests_per_minute);
      stored += tokens * (5.0 + 8.0 * static_cast<double>(source.signal_k()));
    }
  return {.tokens = tokens_of(run.recipe, run.recipe.train) + tokens_of(run.recipe, run.recipe.calibration),
          .seconds = 2.0 * parameters(run.teacher) * work / run.flops + waiting_s,
          .memory_bytes = 2.0 * stored + (written > 0 ? writing_bytes(run) : 0.0),
          .disk_bytes = stored};
}

Estimate estimate_prune(const PlannedRun& run, const PruneOptions& options, const ModelConfig& pruned) {
  const double before = parameters(run.student), body = before - embedding_parameters(run.student);
  const double there = tokens_of(run.recipe, run.recipe.calibration) + tokens_of(run.recipe, run.recipe.train),
               tokens = asks_the_text(options) ? std::min(static_cast<double>(options.calibration_tokens), there) : 0.0;
  const double walk = options.drop_ffn > 0.0 || options.drop_heads > 0.0
                          ? walk_bytes(run, tokens, 2) + kFitGrams * gram_bytes(run.student)
                          : 0.0;
  return {.tokens = tokens,
          .seconds = 4.0 * body * tokens / (kWalkShare * run.flops),
          .memory_bytes = 4.0 * before + walk,
          .disk_bytes = 4.0 * parameters(pruned)};
}

Estimate estimate_distill(const PlannedRun& run, const DistillStage& options) {
  Estimate estimate = estimate_learning(run, options);
  if (options.arms) add_arms(run, options, estimate);
  return estimate;
}

Estimate estimate_quantize(const PlannedRun& run, const QuantizeOptions& options, double tensor_bytes) {
  Estimate estimate = estimate_codes(run, run.student, options, tensor_bytes);
  if (options.preset == "learned") {
    const Estimate more = estimate_learning(run, qad_training(options.qad));
    estimate.tokens += more.tokens, estimate.seconds += more.seconds;
    estimate.memory_bytes += more.memory_bytes + kGridBytes * parameters(run.student);
    estimate.disk_bytes += 2.0 * more.disk_bytes;  // latents beside what they stand for
  }
  return estimate;
}

Estimate estimate_export(const PlannedRun& run, const ExportOptions& options) {
  double bytes = 0;
  const double weights = parameters(run.student);
  const double gguf = run.gguf_bytes > 0.0 ? run.gguf_bytes : 2.0 * weights;  // F16 without a quantize stage
  for (const std::string& format : options.formats)
    bytes += format == "gguf" ? gguf : (options.hf_dtype == "bfloat16" ? 2.0 : 4.0) * weights;
  return {.seconds = bytes / 4e8, .memory_bytes = 6.0 * weights + gguf, .disk_bytes = bytes};
}

Estimate estimate_verify(const PlannedRun& run, const VerifyStage& options) {
  double tokens = tokens_of(run.recipe, run.recipe.evaluation);
  if (options.max_tokens > 0) tokens = std::min(tokens, static_cast<double>(options.max_tokens));
  for (const std::string& file : options.tasks) tokens += tokens_of(run.recipe, {.file = file});
  const double both = parameters(run.teacher) + parameters(run.student), work = 2.0 * both * tokens / run.flops;
  const bool fp32 = runtime::is_verified(options, Numerics::Fp32),
             deployed = runtime::is_verified(options, Numerics::Deployed);
  const bool baseline = options.baseline && is_more_than_quantized(run.recipe);
  const Estimate alone = baseline ? estimate_baseline(run, tokens) : Estimate{};
  return {.tokens = tokens,
          .seconds = (fp32 ? work / kReadShare.fp32 : 0.0) + (deployed ? work / kReadShare.deployed : 0.0) +
                     (options.bench ? kBenchSeconds : 0.0) + alone.seconds,
          .memory_bytes = std::max((fp32 ? 4.0 : 1.0) * both + run.teacher_bytes, alone.memory_bytes),
          .disk_bytes = alone.disk_bytes};
}

}  // namespace attar
