// --dry-run: what a run would do on this machine, before anything heavy: stages, sizes, memory, disk, time.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "distill/pass/device.h"
#include "distill/signal_source.h"
#include "export/export.h"
#include "prune/prune.h"
#include "quantize/quantize.h"
#include "recipes/run/baseline.h"
#include "recipes/run/plan/estimates.h"
#include "recipes/run/qad.h"
#include "recipes/run/run.h"
#include "recipes/run/run_state.h"
#include "recipes/schema/inputs.h"
#include "runtime/base/host/cpu_limits.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSomeFlops = 1e11;  // a second and core, where stages are only compared: nothing is measured

PlannedRun planned_run(const Recipe& recipe, const RunOptions& options, const RecipeInputs& inputs,
                       double flops_per_core) {
  const int threads = options.threads > 0 ? options.threads : default_threads();
  return {.recipe = recipe,
          .teacher = inputs.teacher_config,
          .student = inputs.student_config,
          .teacher_bytes = static_cast<double>(inputs.teacher_bytes),
          .threads = threads,
          .flops = flops_per_core * threads};
}

// Goes through the stages in their order: each leaves the student as the next one finds it.
class Planner {
 public:
  Planner(const Recipe& recipe, const RunOptions& options, const RecipeInputs& inputs, double flops_per_core)
      : run_(planned_run(recipe, options, inputs, flops_per_core)),
        tokenizer_(tokenizer_of_student(inputs)),
        teacher_tokenizer_(tokenizer_of_teacher(inputs)),
        info_(export_info(recipe, inputs)) {}

  // Null when the teacher is there already.
  Json teacher() {
    if (!run_.recipe.teacher.pretrain) return nullptr;
    return entry("teacher", estimate_teacher(run_),
                 std::to_string(run_.recipe.teacher.pretrain->tokens) + " tokens, " + millions(run_.teacher) +
                     " parameters" + device_note(*run_.recipe.teacher.pretrain));
  }
  Json data() {
    double written = 0;  // tokens
    std::string endpoints;
    for (const auto* split : {&run_.recipe.train, &run_.recipe.calibration})
      for (const DataSource& source : *split) {
        if (source.teacher_writes) written += tokens_of(run_.recipe, source);
        if (source.endpoint_writes) endpoints += ", " + endpoint_note(source);
      }
    return entry(
        "data", estimate_data(run_),
        std::to_string(static_cast<int64_t>(written)) + " tokens written by the teacher" + endpoints + drawn_note());
  }
  Json operator()(const PruneOptions& options) {
    const ModelConfig pruned = pruned_shape(run_.student, options);
    const Estimate estimate = estimate_prune(run_, options, pruned);
    const std::string what = millions(run_.student) + " -> " + millions(pruned) + " parameters";
    run_.student = pruned;
    if (pruned.vocab_size < static_cast<int64_t>(tokenizer_.tokens.size()))  // which tokens stay, the data decides
      tokenizer_ = cut_tokenizer(tokenizer_, pruned.vocab_size);
    return entry("prune", estimate, what);
  }
  Json operator()(const DistillStage& options) {
    const Estimate estimate = estimate_distill(run_, options);
    std::string what = learning_note(options);
    if (options.arms) what += ", and " + std::to_string(arms_trained(run_, options)) + " arms";
    run_.taught = true;
    return entry("distill", estimate, what);
  }
  Json operator()(const QuantizeOptions& options) {
    const PlanTarget target = gguf_plan_target(planned_config(run_.student, options), tokenizer_, info_);
    const QuantizePlan plan = plan_quantization(run_.student, options, target);
    run_.gguf_bytes = static_cast<double>(plan.tensor_bytes() + target.fixed_bytes);
    const bool learned = options.preset == "learned";
    return entry("quantize", estimate_quantize(run_, options, static_cast<double>(plan.tensor_bytes())),
                 plan.name + ", " + std::to_string(plan.tensor_bytes()) + " tensor bytes, " +
                     std::to_string(plan.fallbacks.size()) + " fallbacks" +
                     (options.block_steps > 0 ? ", " + std::to_string(options.block_steps) + " steps a block" : "") +
                     (learned ? ", " + learning_note(qad_training(options.qad)) : ""));
  }
  Json operator()(const ExportOptions& options) {
    std::string formats;
    for (const std::string& format : options.formats) formats += (formats.empty() ? "" : ", ") + format;
    return entry("export", estimate_export(run_, options), formats);
  }
  Json operator()(const VerifyStage& options) {
    const Estimate estimate = estimate_verify(run_, options);
    const bool baseline = options.baseline && is_more_than_quantized(run_.recipe);
    return entry("verify", estimate,
                 "about " + std::to_string(static_cast<int64_t>(estimate.tokens)) + " tokens, both models" +
                     (baseline ? ", and the teacher quantized alone" : ""));
  }

  // The smallest file that quantizing the teacher alone gives.
  uint64_t smallest_quantized_bytes() const {
    const QuantizeOptions alone = quantizing_alone(run_.recipe);
    const ModelConfig planned = planned_config(run_.teacher, alone);
    return smallest_file_bytes(run_.teacher, alone, gguf_plan_target(planned, teacher_tokenizer_, info_));
  }
  // Of all stages so far, with the program itself in memory.
  const Estimate& total() const { return total_; }

 private:
  // Of a source with endpoint_writes.
  std::string endpoint_note(const DataSource& source) const {
    const EndpointWrites& options = *source.endpoint_writes;
    return std::to_string(static_cast<int64_t>(tokens_of(run_.recipe, source))) + " by " + options.model + " at " +
           options.url + " in at least " + std::to_string(static_cast<int64_t>(requests_of(run_.recipe, options))) +
           " requests";
  }
  std::string drawn_note() const {
    for (const DataSource& source : run_.recipe.calibration)
      if (source.from_train > 0)
        return ", calibration: " + std::to_string(source.from_train) + " tokens drawn from data.train";
    return {};
  }
  std::string learning_note(const DistillOptions& options) const {
    const char* by = learns_beside(run_, options) ? "the teacher beside the student"
                     : asks_a_teacher(options)    ? "the teacher kept"
                                                  : "by the text alone";
    return std::to_string(options.tokens) + " tokens, " + by +
           (options.curriculum > 0.0 ? ", which the teacher reads first" : "") + device_note(options);
  }
  // Where it is asked for one: which device a training has on this machine.
  static std::string device_note(const DistillOptions& options) {
    if (options.device == "cpu") return {};
    if (has_cuda()) return ", on cuda, timed as if by the processor";
    return options.device == "auto" ? ", on cpu: LibTorch finds no GPU"
                                    : ", on cuda, which is not here: it would not run";
  }
  static std::string millions(const ModelConfig& config) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f M", static_cast<double>(config.parameter_count()) / 1e6);
    return text;
  }
  Json entry(const char* stage, const Estimate& estimate, const std::string& what) {
    const std::string_view name = stage;
    multiplied_ = multiplied_ || (name == "teacher" ? estimate.tokens > 0 : name != "data");
    const double memory_bytes = estimate.memory_bytes + (kProgramBytes + (multiplied_ ? product_kernel_bytes() : 0.0));
    total_.seconds += estimate.seconds;
    total_.disk_bytes += estimate.disk_bytes;
    total_.memory_bytes = std::max(total_.memory_bytes, memory_bytes);
    return {{"stage", stage},
            {"what", what},
            {"tokens", estimate.tokens},
            {"seconds", estimate.seconds},
            {"memory_bytes", memory_bytes},
            {"disk_bytes", estimate.disk_bytes}};
  }

  PlannedRun run_;
  TokenizerData tokenizer_;  // the student's
  TokenizerData teacher_tokenizer_;
  ExportInfo info_;
  bool multiplied_ = false;  // by a stage so far
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
  return plan.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // names of files may be no UTF-8
}

}  // namespace attar
