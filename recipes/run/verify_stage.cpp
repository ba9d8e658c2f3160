// The verify stage: the exported file against the teacher, in the native runtime.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/data/splits.h"
#include "recipes/run/run_state.h"
#include "runtime/base/error.h"
#include "runtime/formats/model_text.h"
#include "runtime/judge/gates.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/verify.h"
#include "runtime/judge/verify_json.h"
#include "runtime/text/generate.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSampleTokens = 80;
constexpr double kRepetitionPenalty = 1.1;
constexpr const char* kQuestions[] = {"What is the capital of France?", "Give me three tips for sleeping well.",
                                      "Write a short story about a lost key.", "Why do leaves change colour in autumn?",
                                      "Explain what a computer program is."};

// What one model answers, greedily, so that the report shows the same text each time.
std::vector<std::string> answers(const ModelFile& file, const std::vector<std::string>& prompts, const RunState& state,
                                 Event& now) {
  const std::string chat_template = recipe_template(state.recipe);
  const Progress& progress = state.progress;
  ThreadPool pool(state.threads);
  const runtime::Model model = runtime::Model::load(file, {}, pool);
  runtime::Workspace work(model, pool);
  const Tokenizer& tokenizer = model.tokenizer();
  TextReader reader(tokenizer, {.chat_template = chat_template});
  const bool is_chat = !chat_template.empty() || !tokenizer.data().chat_template.empty();
  std::vector<std::string> out;
  for (const std::string& prompt : prompts) {
    const std::vector<int32_t> tokens = reader.prompt_tokens({.text = prompt, .chat = is_chat});
    runtime::KvCache cache(model);
    runtime::GenerateOptions options;
    const int64_t room = model.config().context_length - static_cast<int64_t>(tokens.size());
    options.max_tokens = std::clamp<int64_t>(room, 0, kSampleTokens);
    options.sampling.temperature = 0.0;
    options.sampling.repetition_penalty = kRepetitionPenalty;
    const auto go_on = [&](std::string_view) {
      report(progress, now);
      return true;
    };
    out.push_back(tokens.empty()
                      ? ""
                      : runtime::generate(model, cache, tokens, options, work, go_on, inside(progress, now)).text);
    ++now.done;
  }
  return out;
}

Json samples_json(const RunState& state, const ModelFile& student, int64_t count) {
  std::vector<std::string> prompts;
  for (const char* question : kQuestions)
    if (static_cast<int64_t>(prompts.size()) < count) prompts.emplace_back(question);
  Json samples = Json::array();
  if (prompts.empty()) return samples;
  Event now{.stage = "samples", .unit = "answers", .total = 2 * static_cast<int64_t>(prompts.size())};
  const std::vector<std::string> a = answers(*state.teacher, prompts, state, now),
                                 b = answers(student, prompts, state, now);
  report(state.progress, now);
  for (size_t i = 0; i < prompts.size(); ++i)
    samples.push_back({{"prompt", prompts[i]}, {"teacher", a[i]}, {"student", b[i]}});
  return samples;
}

Json size_json(const ModelFile& file) {
  return {{"bytes", file.size_bytes()},
          {"parameters", file.config().parameter_count()},
          {"bits_per_weight", file.bits_per_weight()}};
}

std::string measuring_program(const RunOptions& options) {
  return options.runtime_program.empty() ? runtime::runtime_program() : options.runtime_program;
}

}  // namespace

void require_measurable(const Recipe& recipe, const RunOptions& options) {
  const std::string program = measuring_program(options);
  for (const Stage& stage : recipe.stages)
    if (const auto* verify = std::get_if<VerifyStage>(&stage))
      if (verify->bench && !std::filesystem::exists(program))
        throw Error(
            ErrorKind::Failure,
            {.where = program, .what = "is missing", .hint = "build it, or run with stages.verify.bench=false"});
}

StageRecord run_stage(RunState& state, const std::string& name, const VerifyStage& options) {
  const std::string path = state.folder.file("export/model.gguf");
  if (!std::filesystem::exists(path))
    throw input_error(path, "is missing", "the GGUF of an export stage", "", "add gguf to the export stage's formats");
  const ModelFile student = ModelFile::open(path);
  runtime::VerifyOptions how = options;
  how.chat_template = options.chat_template.empty() ? recipe_template(state.recipe)
                                                    : template_path(state.recipe, options.chat_template);
  runtime::VerifyResults results;
  {
    ThreadPool pool(state.threads);
    results = runtime::verify(*state.teacher, student, evaluation_documents(state.recipe), how, pool, state.progress);
  }
  runtime::Speeds speeds;
  if (options.bench) {
    speeds = runtime::measure_both(measuring_program(state.options), state.teacher_model, path, state.threads,
                                   state.progress);
  }
  const std::vector<runtime::GateResult> gates =
      runtime::judge(options.gates, results, speeds.teacher, speeds.student, student.size_bytes());
  const Json document = Json::parse(runtime::verify_document(results, speeds, gates));
  Json measurements = document.at("measurements");
  measurements["gates"] = document.at("gates");
  if (!options.bench) measurements = {{"gates", document.at("gates")}};
  measurements["samples"] = samples_json(state, student, options.samples);
  measurements["samples_decoding"] = {{"temperature", 0.0},
                                      {"repetition_penalty", kRepetitionPenalty},
                                      {"max_tokens", kSampleTokens},
                                      {"numerics", "deployed"}};
  Json verified = document.at("results");
  verified["models"] = {{"teacher", size_json(*state.teacher)}, {"student", size_json(student)}};
  return {.name = name, .results = verified.dump(), .measurements = measurements.dump(), .notes = results.notes};
}

}  // namespace attar
