#include "recipes/run/baseline.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/data/splits.h"
#include "recipes/run/qad.h"
#include "runtime/judge/verify.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g MB", static_cast<double>(bytes) * 1e-6);
  return text;
}

// Its file, kept until it is judged.
void make_file(const RunState& state, const std::string& folder, const std::string& path,
               const QuantizeOptions& options, const PlanTarget& target, const ExportInfo& info) {
  if (fs::exists(path)) return;
  fs::create_directories(folder);
  const Progress named = [&](const Event& event) {
    Event shown = event;
    const std::string stage = "baseline: " + std::string(event.stage);
    shown.stage = stage;
    return state.progress ? state.progress(shown) : Flow::GoOn;
  };
  QuantizedModel model = quantize(
      *state.teacher, options, target, options.importance ? state.calibration : TokenDataset{}, state.threads, named,
      {.steps = folder, .cache = state.folder.file("cache")}, block_learner(options.block_steps, state.threads));
  model.config.kv = planned_config(state.teacher->config(), options).kv;
  export_gguf(path, model, state.teacher->tokenizer(), info, named);
}

}  // namespace

bool is_more_than_quantized(const Recipe& recipe) {
  return recipe.student || std::any_of(recipe.stages.begin(), recipe.stages.end(), [](const Stage& stage) {
           return std::holds_alternative<PruneOptions>(stage) || std::holds_alternative<DistillStage>(stage);
         });
}

QuantizeOptions quantizing_alone(const Recipe& recipe) {
  QuantizeOptions options;
  for (const Stage& stage : recipe.stages)
    if (const auto* own = std::get_if<QuantizeOptions>(&stage)) options = *own;
  options.to.reset(), options.target_size.reset(), options.target_bpw.reset(), options.max_kl.reset();
  if (options.preset == "learned") options.preset = "best";
  options.importance = options.importance && !recipe.calibration.empty();
  if (!options.importance) options.block_steps = 0;
  options.fallback = true;
  return options;
}

Baseline measure_baseline(RunState& state, const std::string& name, const runtime::VerifyOptions& how,
                          uint64_t student_bytes) {
  const ExportInfo info = export_info(state.recipe, state.inputs);
  QuantizeOptions options = quantizing_alone(state.recipe);
  if (state.teacher->config().tied_embeddings) options.keep.erase("output");  // the student may have one of its own
  const PlanTarget target =
      gguf_plan_target(planned_config(state.teacher->config(), options), state.teacher->tokenizer(), info);
  const uint64_t smallest = smallest_file_bytes(state.teacher->config(), options, target);
  if (smallest > student_bytes)
    return {.notes = {"quantizing alone gives no file as small as the student's " + megabytes(student_bytes) +
                      ": its smallest has " + megabytes(smallest)}};
  options.target_size = std::to_string(student_bytes) + "B";
  const std::string folder = state.folder.checkpoints(name) + "/baseline", path = folder + "/baseline.gguf";
  make_file(state, folder, path, options, target, info);
  const ModelFile file = ModelFile::open(path);
  runtime::VerifyOptions one = how;
  one.numerics = runtime::is_verified(how, Numerics::Deployed) ? "deployed" : "fp32";  // what gates judge
  ThreadPool pool(state.threads);
  const runtime::VerifyResults judged = runtime::verify(*state.teacher, file, evaluation_documents(state.recipe), one,
                                                        pool, state.progress, folder + "/scored");
  const runtime::Fidelity& fidelity = judged.deployed ? *judged.deployed : *judged.fp32;
  const Json results = {{"preset", options.importance ? options.preset : "fast"},
                        {"bytes", file.size_bytes()},
                        {"kv_format", name_of(file.config().kv)},
                        {"kl", {{"mean", fidelity.kl.mean}, {"stderr", fidelity.kl.stderr_}}},
                        {"top1", fidelity.top1_agreement},
                        {"top1_stderr", fidelity.top1_stderr}};
  fs::remove_all(folder);
  return {.results = results.dump()};
}

}  // namespace attar
