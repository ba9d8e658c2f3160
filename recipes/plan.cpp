// --dry-run: what a run would do on this machine, before anything heavy: stages, sizes, memory, disk, time.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "export/export.h"
#include "quantize/quantize.h"
#include "recipes/option_checks.h"
#include "recipes/run.h"
#include "recipes/splits.h"
#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/formats/model_file.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

// Rough speed of this machine: f32 multiply-adds a core and second, by instruction set. Estimates only; a run measures.
double gflops_per_core(Isa isa) {
  return isa == Isa::Avx512Vnni ? 60.0 : isa == Isa::Avx2 ? 30.0 : 4.0;
}

struct Estimate {
  double seconds = 0;
  double memory_bytes = 0;
  double disk_bytes = 0;
};

// The student's shape after a prune stage, as far as options alone tell.
void apply(const PruneOptions& options, ModelConfig& config) {
  if (options.vocab > 0) config.vocab_size = std::min(config.vocab_size, options.vocab);
  const auto layers = static_cast<size_t>(options.layers);
  if (layers >= config.layers.size())
    throw usage_error("prune.layers", "leaves no layer", "at most " + std::to_string(config.layers.size() - 1),
                      std::to_string(layers));
  config.layers.resize(config.layers.size() - layers);
  for (LayerConfig& layer : config.layers) {
    const auto kept = static_cast<int64_t>(static_cast<double>(layer.ffn_width) * (1.0 - options.ffn));
    layer.ffn_width = std::max(options.round_channels,
                               (kept + options.round_channels / 2) / options.round_channels * options.round_channels);
    const int64_t groups = std::max<int64_t>(
        1, layer.n_kv_heads - static_cast<int64_t>(static_cast<double>(layer.n_kv_heads) * options.heads));
    layer.n_heads = layer.n_heads / layer.n_kv_heads * groups;
    layer.n_kv_heads = groups;
  }
}

class Planner {
 public:
  Planner(const Recipe& recipe, const RunOptions& options, ModelConfig teacher, uint64_t teacher_bytes)
      : recipe_(recipe),
        teacher_(std::move(teacher)),
        student_(teacher_),
        teacher_bytes_(static_cast<double>(teacher_bytes)) {
    const int threads = options.threads > 0 ? options.threads : cpu_features().cores;
    flops_ = 1e9 * gflops_per_core(cpu_features().best_isa()) * threads;
  }

  Json data() {
    double tokens = 0;
    for (const auto* split : {&recipe_.train, &recipe_.calibration})
      for (const DataSource& source : *split)
        if (source.teacher_writes) tokens += static_cast<double>(source.teacher_writes->tokens);
    // batched decoding: about a quarter of the multiply-add rate of training
    return entry("data",
                 {.seconds = 2.0 * params(teacher_) * tokens / (flops_ / 2.0),
                  .memory_bytes = 2.0 * teacher_bytes_,
                  .disk_bytes = tokens * 8.0 * 64.0},
                 std::to_string(static_cast<int64_t>(tokens)) + " tokens written by the teacher");
  }
  Json operator()(const PruneOptions& options) {
    const double before = params(student_);
    apply(options, student_);
    const double tokens = static_cast<double>(options.calibration_tokens);
    return entry("prune",
                 {.seconds = 4.0 * before * tokens / flops_,
                  .memory_bytes = 4.0 * before + tokens * 4.0 * static_cast<double>(student_.width) * 4.0,
                  .disk_bytes = 4.0 * params(student_)},
                 millions(before) + " -> " + millions(params(student_)) + " parameters");
  }
  Json operator()(const DistillOptions& options) {
    const double n = params(student_), tokens = static_cast<double>(options.tokens);
    const bool online = options.signal == "online";
    const double shards = static_cast<double>(options.shards);
    return entry("distill",
                 {.seconds = (6.0 * n + (online ? 2.0 * params(teacher_) : 0.0)) * tokens / flops_,
                  .memory_bytes = (12.0 + 4.0 * shards) * n + (online ? 4.0 * params(teacher_) : 0.0),
                  .disk_bytes = 2 * 12.0 * n},
                 std::to_string(options.tokens) + " tokens");
  }
  Json operator()(const QuantizeOptions& options) {
    const QuantizePlan plan = plan_quantization(student_, options, 0);
    return entry(
        "quantize",
        {.seconds = 40.0 * params(student_) / 1e6 / 20.0, .memory_bytes = 5.0 * params(student_), .disk_bytes = 0.0},
        plan.name + ", " + std::to_string(plan.tensor_bytes()) + " tensor bytes, " +
            std::to_string(plan.fallbacks.size()) + " fallbacks");
  }
  Json operator()(const ExportOptions& options) {
    std::string formats;
    for (const std::string& format : options.formats) formats += (formats.empty() ? "" : ", ") + format;
    return entry("export",
                 {.seconds = 2.0, .memory_bytes = 5.0 * params(student_), .disk_bytes = 5.0 * params(student_)},
                 formats);
  }
  Json operator()(const VerifyStage& options) {
    const double tokens = options.max_tokens > 0 ? static_cast<double>(options.max_tokens) : 10000.0;
    const double passes = options.numerics == "both" ? 2.0 : 1.0;
    return entry("verify",
                 {.seconds = passes * 2.0 * (params(teacher_) + params(student_)) * tokens / flops_ +
                             (options.bench ? 40.0 : 0.0),
                  .memory_bytes = 4.0 * (params(teacher_) + params(student_)),
                  .disk_bytes = 0.0},
                 "about " + std::to_string(static_cast<int64_t>(tokens)) + " tokens, both models");
  }

  const Estimate& total() const { return total_; }

 private:
  static double params(const ModelConfig& config) { return static_cast<double>(config.parameter_count()); }
  static std::string millions(double n) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f M", n / 1e6);
    return text;
  }
  Json entry(const char* stage, const Estimate& estimate, const std::string& what) {
    total_.seconds += estimate.seconds;
    total_.disk_bytes += estimate.disk_bytes;
    total_.memory_bytes = std::max(total_.memory_bytes, estimate.memory_bytes);
    return {{"stage", stage},
            {"what", what},
            {"seconds", estimate.seconds},
            {"memory_bytes", estimate.memory_bytes},
            {"disk_bytes", estimate.disk_bytes}};
  }

  const Recipe& recipe_;
  ModelConfig teacher_, student_;
  double teacher_bytes_;
  double flops_;
  Estimate total_;
};

}  // namespace

std::string plan_recipe(const Recipe& recipe, const RunOptions& options) {
  ModelConfig config;
  uint64_t bytes = 0;
  if (recipe.teacher.model.empty()) {
    config = to_config(*recipe.teacher.architecture, 32000);  // the tokenizer decides; a guess is enough for a plan
    bytes = 4 * static_cast<uint64_t>(config.parameter_count());
  } else {
    const ModelFile teacher = ModelFile::open(recipe.teacher.model);
    config = teacher.config();
    bytes = teacher.size_bytes();
  }
  for (const auto* split : {&recipe.train, &recipe.calibration, &recipe.evaluation})
    for (const DataSource& source : *split)
      if (!source.file.empty() && !std::filesystem::exists(recipe_relative(recipe, source.file)))
        throw input_error(recipe_relative(recipe, source.file), "is missing", "the data file that the recipe names");
  Planner planner(recipe, options, config, bytes);
  Json stages = Json::array({planner.data()});
  for (const Stage& stage : recipe.stages)
    stages.push_back(std::visit([&](const auto& o) { return planner(o); }, stage));
  const Json plan = {{"schema_version", 1},
                     {"name", recipe.name},
                     {"folder", options.folder.empty() ? "runs/" + recipe.name : options.folder},
                     {"stages", stages},
                     {"estimate",
                      {{"seconds", planner.total().seconds},
                       {"memory_bytes", planner.total().memory_bytes},
                       {"disk_bytes", planner.total().disk_bytes}}}};
  return plan.dump(1) + "\n";
}

}  // namespace attar
