// --dry-run: what a run would do on this machine, before anything heavy: stages, sizes, memory, disk, time.
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/block_walk.h"
#include "compress/shards.h"
#include "distill/head_loss.h"
#include "distill/optimizer/muon.h"
#include "distill/signal_source.h"
#include "export/export.h"
#include "quantize/quantize.h"
#include "recipes/arms/arms.h"
#include "recipes/run/baseline.h"
#include "recipes/run/qad.h"
#include "recipes/run/run.h"
#include "recipes/run/run_state.h"
#include "recipes/schema/inputs.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/formats/numerics.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

// Multiply-adds a second times two that one core reaches on f32 matrices that stay in its cache: the fastest of a few
// tries, some milliseconds in all.
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

// Shares of that rate that the stages reach, on two cores with AVX-512 VNNI; int8 work counts as if it were f32.
constexpr double kTrainShare = 0.34;      // forward, backward and the optimizer, in LibTorch
constexpr double kWalkShare = 0.34;       // the block walk of pruning and calibration
constexpr double kFeedbackShare = 0.11;   // that of quantization: two streams, inputs made again, how they vary
constexpr double kSurveyPasses = 10.0;    // forward twice and back for sensitivities, forward for inputs
constexpr double kSearchFlops = 16000.0;  // choosing the codes of one weight
constexpr double kBytesPerToken = 4.0;    // of English text
constexpr double kSomeFlops = 1e11;       // a second and core, where stages are only compared: nothing is measured
constexpr double kProgramBytes = 1.7e8;   // the program with LibTorch
constexpr double kOneDnnBytes = 1.2e8;    // what oneDNN keeps of its kernels from its first products on
constexpr double kBenchSeconds = 10.0;    // both models
constexpr double kBatchTokens = 1024.0;   // of a batch of calibration data
constexpr double kFitGrams = 8.0;         // X^T X of the widest linear, and what its fit makes of it, at most
constexpr double kWrittenAtOnce = 16.0;   // texts by the teacher
constexpr double kCheckpoints = 2.0;      // of a training that stay on the disk
constexpr double kGridBytes = 10.0;       // a weight that is trained on its grid: latents, scales, what was given

struct RuntimeShare {
  double fp32, deployed;
  double of(const std::string& numerics) const {
    return numerics_of(numerics, "numerics") == Numerics::Fp32 ? fp32 : deployed;
  }
};
constexpr RuntimeShare kWriteShare{.fp32 = 0.34, .deployed = 0.65};  // the teacher writes text, 16 sequences at once
constexpr RuntimeShare kReadShare{.fp32 = 0.53, .deployed = 1.27};   // over whole texts

// Requests to an endpoint, if its answers are as long as they may be.
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

struct Estimate {
  double tokens = 0;  // that the stage learns from, measures or writes
  double seconds = 0;
  double memory_bytes = 0;
  double disk_bytes = 0;
};

class Planner {
 public:
  Planner(const Recipe& recipe, const RunOptions& options, const RecipeInputs& inputs, double flops_per_core)
      : recipe_(recipe),
        teacher_(inputs.teacher_config),
        student_(inputs.student_config),
        tokenizer_(tokenizer_of_student(inputs)),
        teacher_tokenizer_(tokenizer_of_teacher(inputs)),
        info_(export_info(recipe, inputs)),
        teacher_bytes_(static_cast<double>(inputs.teacher_bytes)),
        threads_(options.threads > 0 ? options.threads : default_threads()),
        flops_(flops_per_core * threads_) {}

  // Null when the teacher is there already.
  Json teacher() {
    if (!recipe_.teacher.pretrain) return nullptr;
    return entry(
        "teacher", training(*recipe_.teacher.pretrain, teacher_, 0.0),
        std::to_string(recipe_.teacher.pretrain->tokens) + " tokens, " + millions(params(teacher_)) + " parameters");
  }
  Json data() {
    double written = 0, stored = 0, work = 0, waiting_s = 0;
    std::string endpoints;
    for (const auto* split : {&recipe_.train, &recipe_.calibration})
      for (const DataSource& source : *split) {
        const double tokens = tokens_of(recipe_, source);
        if (source.teacher_writes) {
          written += tokens;
          work += tokens / kWriteShare.of(source.teacher_writes->numerics);
        }
        if (const auto& options = source.endpoint_writes) {
          const double requests = requests_of(recipe_, *options);
          if (options->requests_per_minute > 0)
            waiting_s += 60.0 * requests / static_cast<double>(options->requests_per_minute);
          endpoints += ", " + std::to_string(static_cast<int64_t>(tokens)) + " by " + options->model + " at " +
                       options->url + " in at least " + std::to_string(static_cast<int64_t>(requests)) + " requests";
        }
        stored += tokens * (5.0 + 8.0 * static_cast<double>(source.signal_k()));
      }
    return entry(
        "data",
        {.tokens = tokens_of(recipe_, recipe_.train) + tokens_of(recipe_, recipe_.calibration),
         .seconds = 2.0 * params(teacher_) * work / flops_ + waiting_s,
         .memory_bytes = 3.0 * stored + (written > 0 ? writing_bytes() : 0.0),
         .disk_bytes = stored},
        std::to_string(static_cast<int64_t>(written)) + " tokens written by the teacher" + endpoints + drawn_note());
  }
  Json operator()(const PruneOptions& options) {
    const double before = params(student_), body = before - embedding(student_);
    const double tokens = std::min(static_cast<double>(options.calibration_tokens),
                                   tokens_of(recipe_, recipe_.calibration) + tokens_of(recipe_, recipe_.train));
    const double walk =
        options.drop_ffn > 0.0 || options.drop_heads > 0.0 ? walk_bytes(tokens, 2) + kFitGrams * gram_bytes() : 0.0;
    student_ = pruned_shape(student_, options);
    if (student_.vocab_size < static_cast<int64_t>(tokenizer_.tokens.size()))  // which tokens stay, the data decides
      tokenizer_ = cut_tokenizer(tokenizer_, student_.vocab_size);
    return entry("prune",
                 {.tokens = tokens,
                  .seconds = 4.0 * body * tokens / (kWalkShare * flops_),
                  .memory_bytes = 4.0 * before + walk,
                  .disk_bytes = 4.0 * params(student_)},
                 millions(before) + " -> " + millions(params(student_)) + " parameters");
  }
  Json operator()(const DistillStage& options) {
    std::string what;
    Estimate estimate = learning(options, what);
    if (options.arms) add_arms(options, estimate, what);
    taught_ = true;
    return entry("distill", estimate, what);
  }
  Json operator()(const QuantizeOptions& options) {
    const PlanTarget target = gguf_plan_target(planned_config(student_, options), tokenizer_, info_);
    const QuantizePlan plan = plan_quantization(student_, options, target);
    gguf_bytes_ = static_cast<double>(plan.tensor_bytes() + target.fixed_bytes);
    Estimate estimate = quantizing(student_, options, static_cast<double>(plan.tensor_bytes()));
    std::string learned;
    if (options.preset == "learned") {
      const Estimate more = learning(qad_training(options.qad), learned);
      estimate.tokens += more.tokens, estimate.seconds += more.seconds;
      estimate.memory_bytes += more.memory_bytes + kGridBytes * params(student_);
      estimate.disk_bytes += 2.0 * more.disk_bytes;  // latents beside what they stand for
    }
    return entry("quantize", estimate,
                 plan.name + ", " + std::to_string(plan.tensor_bytes()) + " tensor bytes, " +
                     std::to_string(plan.fallbacks.size()) + " fallbacks" + (learned.empty() ? "" : ", ") + learned);
  }
  Json operator()(const ExportOptions& options) {
    std::string formats;
    double bytes = 0;
    const double gguf = gguf_bytes_ > 0.0 ? gguf_bytes_ : 2.0 * params(student_);  // F16 without a quantize stage
    for (const std::string& format : options.formats) {
      formats += (formats.empty() ? "" : ", ") + format;
      bytes += format == "gguf" ? gguf : (options.hf_dtype == "bfloat16" ? 2.0 : 4.0) * params(student_);
    }
    return entry("export", {.seconds = bytes / 4e8, .memory_bytes = 6.0 * params(student_) + gguf, .disk_bytes = bytes},
                 formats);
  }
  Json operator()(const VerifyStage& options) {
    double tokens = tokens_of(recipe_, recipe_.evaluation);
    if (options.max_tokens > 0) tokens = std::min(tokens, static_cast<double>(options.max_tokens));
    for (const std::string& file : options.tasks) tokens += tokens_of(recipe_, {.file = file});
    const double both = params(teacher_) + params(student_), work = 2.0 * both * tokens / flops_;
    const bool fp32 = runtime::is_verified(options, Numerics::Fp32),
               deployed = runtime::is_verified(options, Numerics::Deployed);
    const bool baseline = options.baseline && is_more_than_quantized(recipe_);
    const Estimate alone = baseline ? judging_baseline(tokens) : Estimate{};
    return entry("verify",
                 {.tokens = tokens,
                  .seconds = (fp32 ? work / kReadShare.fp32 : 0.0) + (deployed ? work / kReadShare.deployed : 0.0) +
                             (options.bench ? kBenchSeconds : 0.0) + alone.seconds,
                  .memory_bytes = std::max((fp32 ? 4.0 : 1.0) * both + teacher_bytes_, alone.memory_bytes),
                  .disk_bytes = alone.disk_bytes},
                 "about " + std::to_string(static_cast<int64_t>(tokens)) + " tokens, both models" +
                     (baseline ? ", and the teacher quantized alone" : ""));
  }

  // The smallest file that quantizing the teacher alone gives.
  uint64_t smallest_quantized_bytes() const {
    return smallest_file_bytes(teacher_, quantizing_alone(recipe_),
                               gguf_plan_target(teacher_, teacher_tokenizer_, info_));
  }
  const Estimate& total() const { return total_; }

 private:
  std::string drawn_note() const {
    for (const DataSource& source : recipe_.calibration)
      if (source.from_train > 0)
        return ", calibration: " + std::to_string(source.from_train) + " tokens drawn from data.train";
    return {};
  }
  static double params(const ModelConfig& config) { return static_cast<double>(config.parameter_count()); }
  static double embedding(const ModelConfig& config) {
    return static_cast<double>(config.vocab_size * config.width) * (config.tied_embeddings ? 1.0 : 2.0);
  }
  double widest_input() const {
    int64_t widest = student_.width;
    for (const LayerConfig& layer : student_.layers)
      widest = std::max({widest, layer.ffn_width, layer.n_heads * layer.head_dim});
    return static_cast<double>(widest);
  }
  double gram_bytes() const { return 8.0 * widest_input() * widest_input(); }
  // The block walk: streams of hidden states, what a group is given for the batches of a wave, and what the batches
  // that are on their way at once make: gate, up and their product, and some of the model's width.
  double walk_bytes(double tokens, double streams) const {
    const double width = static_cast<double>(student_.width), widest = widest_input();
    const double wave = std::min(tokens, static_cast<double>(kWaveBatches) * threads_ * kBatchTokens),
                 at_once = std::min(tokens, static_cast<double>(threads_) * kBatchTokens);
    return 4.0 * (tokens * streams * width + wave * (widest + width) + at_once * (3.0 * widest + 6.0 * width));
  }
  // The teacher in the runtime, its file while that is loaded, and the keys and values of the texts written at once.
  double writing_bytes() const {
    double values = 0, longest = 0;  // of a token; tokens
    bool fp32 = false;
    for (const LayerConfig& layer : teacher_.layers)
      values += 2.0 * static_cast<double>(layer.n_kv_heads * layer.head_dim);
    for (const auto* split : {&recipe_.train, &recipe_.calibration})
      for (const DataSource& source : *split)
        if (source.teacher_writes) {
          longest = std::max(longest, static_cast<double>(source.teacher_writes->max_tokens));
          fp32 = fp32 || source.teacher_writes->numerics == "fp32";
        }
    return teacher_bytes_ + (fp32 ? 4.0 * params(teacher_) : teacher_bytes_) +
           (fp32 ? 4.0 : 2.0) * kWrittenAtOnce * longest * values;
  }
  bool written_with_signal() const {
    return std::all_of(recipe_.train.begin(), recipe_.train.end(),
                       [](const DataSource& source) { return source.signal_k() > 0; });
  }
  // Weights, moments, their average, gradients, the weights as products read them, and what a slice of a batch keeps
  // for the way back. A teacher of `online` parameters beside the student (0: none).
  Estimate training(const DistillOptions& options, const ModelConfig& config, double online) const {
    const double n = params(config), tokens = static_cast<double>(options.tokens);
    const double at_once = static_cast<double>(std::min(options.batch_tokens, kSliceTokens));
    const bool again = options.gradient_checkpointing;  // the inside of a layer
    double kept = 0;                                    // f32 values a token
    for (const LayerConfig& layer : config.layers) {
      const double inside = 2.0 * static_cast<double>(config.width + layer.ffn_width) +
                            2.0 * static_cast<double>((layer.n_heads + layer.n_kv_heads) * layer.head_dim);
      kept += again ? static_cast<double>(config.width) : inside;
    }
    const double products = options.precision == "fp32" ? 0.0 : 2.0;  // bytes a weight, beside its f32
    const double logits = std::min(static_cast<double>(kHeadLossBytes),
                                   (online > 0.0 ? 8.0 : 4.0) * at_once * static_cast<double>(config.vocab_size));
    const double steps = tokens / static_cast<double>(options.batch_tokens),
                 every = static_cast<double>(options.checkpoint_every_steps),
                 checkpoints = every > 0 ? std::min(kCheckpoints, std::floor(steps / every)) : 0.0;
    const bool muon = options.optimizer == "muon";
    const double average = options.ema > 0.0 ? 4.0 : 0.0, best = options.keep == "best" ? 4.0 : 0.0,
                 second = muon ? 4.0 * embedding(config) : 4.0 * n;              // moments, bytes
    const double written = options.on_policy * (1.0 - options.replay) * tokens;  // by the student itself
    return {.tokens = tokens,
            .seconds = (((again ? 8.0 : 6.0) * n + 2.0 * online) * tokens + (muon ? steps * muon_flops(config) : 0.0)) /
                           (kTrainShare * flops_) +
                       2.0 * n * written / (kWriteShare.deployed * flops_),
            .memory_bytes =
                (12.0 + average + products) * n + second + (4.0 + products) * online + 4.0 * at_once * kept + logits,
            .disk_bytes = (4.0 + best + (8.0 + average) * checkpoints) * n + second * checkpoints};
  }
  // Measures, a walk and a search of codes.
  Estimate quantizing(const ModelConfig& config, const QuantizeOptions& options, double bytes) const {
    const double tokens = options.importance ? std::min(static_cast<double>(options.calibration_tokens),
                                                        tokens_of(recipe_, recipe_.calibration))
                                             : 0.0;
    const double surveyed = options.to ? 0.0 : std::min(tokens, static_cast<double>(kSurveyTokens));
    const bool feedback = options.preset != "fast" && tokens > 0.0;
    return {
        .tokens = tokens,
        .seconds =
            2.0 * (params(config) - embedding(config)) * tokens / ((feedback ? kFeedbackShare : kWalkShare) * flops_) +
            kSurveyPasses * params(config) * surveyed / (kWalkShare * flops_) + kSearchFlops * params(config) / flops_,
        .memory_bytes = 4.0 * params(config) + walk_bytes(tokens, feedback ? 2 : 1) +
                        (feedback ? kFitGrams * gram_bytes() : 0.0) + bytes,
        .disk_bytes = 0.0};
  }
  // The teacher quantized to the student's size and judged, where verify does that.
  Estimate judging_baseline(double tokens) const {
    Estimate estimate = quantizing(teacher_, quantizing_alone(recipe_), gguf_bytes_);
    estimate.seconds += 4.0 * params(teacher_) * tokens / (kReadShare.deployed * flops_);
    return estimate;
  }
  bool is_beside(const DistillOptions& options) const {
    if (always_beside(options)) return true;
    const bool kept = keeps_signal(options) ||
                      (options.signal == "auto" && other_temperature(options) == 1.0 && written_with_signal());
    return !kept || (options.unsignalled == "online" && student_.vocab_size < teacher_.vocab_size);
  }
  // A training of the student from the teacher or its signal, and in words what it learns from.
  Estimate learning(const DistillOptions& options, std::string& what) const {
    const bool sampled = options.signal == "sampled", hidden = options.signal == "hidden", beside = is_beside(options);
    const bool captured = sampled || hidden || (options.signal == "cached" && !written_with_signal());
    const double teacher = params(teacher_);
    Estimate estimate = training(options, student_, beside ? teacher : 0.0);
    if (captured) {
      const double text = tokens_of(recipe_, recipe_.train);
      estimate.seconds += 2.0 * teacher * text / (kReadShare.of(options.signal_numerics) * flops_);
      constexpr double kSampledBytes = 32.0;
      estimate.disk_bytes += text * (5.0 + (sampled  ? kSampledBytes
                                            : hidden ? static_cast<double>(hidden_bytes(teacher_.width))
                                                     : 8.0 * static_cast<double>(options.signal_top_k)));
      if (hidden) estimate.memory_bytes += 4.0 * embedding(teacher_);  // its head
    }
    what = std::to_string(options.tokens) + " tokens, the teacher " + (beside ? "beside the student" : "kept");
    return estimate;
  }
  // The trainings beside the one that was asked for, one after another, and all of them judged. The stage's tokens stay
  // those of the student.
  void add_arms(const DistillStage& options, Estimate& estimate, std::string& what) const {
    const bool from_scratch = recipe_.student && recipe_.student->model.empty() && !taught_;
    const double kinds = from_scratch ? 1.0 : 2.0, seeds = static_cast<double>(options.arm_seeds);
    const Estimate taught = training(options, student_, is_beside(options) ? params(teacher_) : 0.0),
                   plain = training(cross_entropy_alone(options), student_, 0.0);
    const double judged = 2.0 * (params(teacher_) + params(student_)) * tokens_of(recipe_, recipe_.evaluation) /
                          (kReadShare.fp32 * flops_);
    estimate.seconds += (seeds * kinds - 1.0) * taught.seconds + seeds * kinds * (plain.seconds + 2.0 * judged);
    estimate.memory_bytes = std::max(estimate.memory_bytes + 4.0 * params(student_),
                                     4.0 * (params(teacher_) + 2.0 * params(student_)) + teacher_bytes_);
    what += ", and " + std::to_string(static_cast<int64_t>(2.0 * seeds * kinds)) + " arms";
  }
  static std::string millions(double n) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f M", n / 1e6);
    return text;
  }
  Json entry(const char* stage, Estimate estimate, const std::string& what) {
    const std::string_view name = stage;
    multiplied_ = multiplied_ || (name == "teacher" ? estimate.tokens > 0 : name != "data");
    estimate.memory_bytes += kProgramBytes + (multiplied_ && multiplies_with_onednn() ? kOneDnnBytes : 0.0);
    total_.seconds += estimate.seconds;
    total_.disk_bytes += estimate.disk_bytes;
    total_.memory_bytes = std::max(total_.memory_bytes, estimate.memory_bytes);
    return {{"stage", stage},
            {"what", what},
            {"tokens", estimate.tokens},
            {"seconds", estimate.seconds},
            {"memory_bytes", estimate.memory_bytes},
            {"disk_bytes", estimate.disk_bytes}};
  }

  const Recipe& recipe_;
  ModelConfig teacher_, student_;
  TokenizerData tokenizer_;  // the student's
  TokenizerData teacher_tokenizer_;
  ExportInfo info_;
  double teacher_bytes_;
  double gguf_bytes_ = 0;  // once a quantize stage was seen
  int threads_;
  double flops_;
  bool multiplied_ = false;  // by a stage so far
  bool taught_ = false;
  Estimate total_;
};

Json stages_of(const Recipe& recipe, Planner& planner) {
  Json stages = Json::array();
  if (const Json teacher = planner.teacher(); !teacher.is_null()) stages.push_back(teacher);
  stages.push_back(planner.data());
  for (const Stage& stage : recipe.stages)
    stages.push_back(std::visit([&](const auto& o) { return planner(o); }, stage));
  return stages;
}

}  // namespace

std::vector<double> planned_seconds(const Recipe& recipe, const RunOptions& options, const RecipeInputs& inputs) {
  Planner planner(recipe, options, inputs, kSomeFlops);
  std::vector<double> seconds;
  for (const Json& stage : stages_of(recipe, planner)) seconds.push_back(stage.at("seconds"));
  return seconds;
}

std::string plan_recipe(const Recipe& recipe, const RunOptions& options, const Progress& progress) {
  Planner planner(recipe, options, open_inputs(recipe, progress), matmul_flops_per_core());
  const Json stages = stages_of(recipe, planner);
  const Json plan = {{"schema_version", 1},
                     {"name", recipe.name},
                     {"folder", options.folder.empty() ? "runs/" + recipe.name : options.folder},
                     {"stages", stages},
                     {"smallest_quantized_bytes", planner.smallest_quantized_bytes()},
                     {"estimate",
                      {{"seconds", planner.total().seconds},
                       {"memory_bytes", planner.total().memory_bytes},
                       {"disk_bytes", planner.total().disk_bytes}}}};
  return plan.dump(1) + "\n";
}

}  // namespace attar
