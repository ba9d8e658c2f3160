// The verify stage: the exported file against the teacher, in the native runtime.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/data/splits.h"
#include "recipes/run/baseline.h"
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

// The beginning of a text: some words, and no line break.
std::string beginning_of(const std::string& text) {
  constexpr int kWords = 10;
  size_t end = 0;
  for (int word = 0; word < kWords && end < text.size(); ++word) end = text.find_first_of(" \n", end + 1);
  return text.substr(0, std::min(end, text.find('\n')));
}

// What both models go on with: the recipe's own, or what fits the teacher.
std::vector<Document> prompts_of(const RunState& state, const VerifyStage& options, bool is_chat) {
  std::vector<Document> prompts;
  if (!options.prompts.empty()) {
    prompts = recipe_documents(state.recipe, options.prompts);
  } else if (is_chat) {
    for (const char* question : kQuestions)
      prompts.push_back({.text = {}, .messages = {{.role = "user", .content = question}}});
  } else {
    for (const Document& document : evaluation_documents(state.recipe))
      prompts.push_back({.text = beginning_of(document_text(document))});
  }
  std::erase_if(prompts, [](const Document& prompt) { return prompt.text.empty() && !prompt.is_chat(); });
  prompts.resize(std::min(prompts.size(), static_cast<size_t>(options.samples)));
  return prompts;
}

// What one model goes on with, greedily, so that the report shows the same text each time.
std::vector<std::string> answers(const ModelFile& file, const std::vector<Document>& prompts, const RunState& state,
                                 Event& now) {
  ThreadPool pool(state.threads);
  const runtime::Model model = runtime::Model::load(file, {}, pool);
  runtime::Workspace work(model, pool);
  const Tokenizer& tokenizer = model.tokenizer();
  TextReader reader(tokenizer, {.chat_template = recipe_template(state.recipe)});
  std::vector<std::string> out;
  for (const Document& prompt : prompts) {
    const std::vector<int32_t> tokens = prompt.is_chat()
                                            ? encode(tokenizer, reader.prompt(prompt.messages, prompt.tools)).ids
                                            : reader.prompt_tokens({.text = prompt.text});
    runtime::KvCache cache(model);
    runtime::GenerateOptions options;
    const int64_t room = model.config().context_length - static_cast<int64_t>(tokens.size());
    options.max_tokens = std::clamp<int64_t>(room, 0, kSampleTokens);
    options.sampling.temperature = 0.0;
    options.sampling.repetition_penalty = kRepetitionPenalty;
    const auto go_on = [&](std::string_view) {
      report(state.progress, now);
      return true;
    };
    out.push_back(
        tokens.empty()
            ? ""
            : runtime::generate(model, cache, tokens, options, work, go_on, inside(state.progress, now)).text);
    ++now.done;
  }
  return out;
}

Json samples_json(const RunState& state, const ModelFile& student, const VerifyStage& options) {
  const bool is_chat = !recipe_template(state.recipe).empty() || !state.teacher->tokenizer().chat_template.empty();
  const std::vector<Document> prompts = prompts_of(state, options, is_chat);
  Json samples = Json::array();
  if (prompts.empty()) return samples;
  Event now{.stage = "samples", .unit = "texts", .total = 2 * static_cast<int64_t>(prompts.size())};
  const std::vector<std::string> a = answers(*state.teacher, prompts, state, now),
                                 b = answers(student, prompts, state, now);
  report(state.progress, now);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string prompt = prompts[i].is_chat() ? prompts[i].messages.back().content : prompts[i].text;
    samples.push_back({{"prompt", prompt}, {"teacher", a[i]}, {"student", b[i]}});
  }
  return samples;
}

// The row beside the student's, and its line in metrics.jsonl.
void add_baseline(RunState& state, const std::string& name, const runtime::VerifyOptions& how, uint64_t student_bytes,
                  Json& results, std::vector<std::string>& notes) {
  const Baseline baseline = measure_baseline(state, name, how, student_bytes);
  notes.insert(notes.end(), baseline.notes.begin(), baseline.notes.end());
  if (baseline.results.empty()) return;
  results["baseline"] = Json::parse(baseline.results);
  state.folder.start_metrics(name);
  state.folder.append_metric(Json({{"stage", name}, {"baseline", results["baseline"]}}).dump());
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
  for (std::string& file : how.tasks) file = recipe_relative(state.recipe, file);
  const std::string scored = state.folder.checkpoints(name) + "/scored";
  runtime::VerifyResults results;
  {
    ThreadPool pool(state.threads);
    results =
        runtime::verify(*state.teacher, student, evaluation_documents(state.recipe), how, pool, state.progress, scored);
    results.tasks = runtime::verify_on_tasks(*state.teacher, student, how, pool, state.progress);
  }
  runtime::Speeds speeds;
  if (options.bench) {
    speeds = runtime::measure_both(measuring_program(state.options), state.teacher_model, path, options.kv.value_or(""),
                                   state.threads, state.progress);
  }
  const std::vector<runtime::GateResult> gates =
      runtime::judge(options.gates, results, speeds.teacher, speeds.student, student.size_bytes());
  const Json document = Json::parse(runtime::verify_document(results, speeds, gates));
  Json measurements = document.at("measurements");
  measurements["gates"] = document.at("gates");
  if (!options.bench) measurements = {{"gates", document.at("gates")}};
  measurements["samples"] = samples_json(state, student, options);
  measurements["samples_decoding"] = {{"temperature", 0.0},
                                      {"repetition_penalty", kRepetitionPenalty},
                                      {"max_tokens", kSampleTokens},
                                      {"numerics", "deployed"}};
  Json verified = document.at("results");
  verified["models"] = {{"teacher", size_json(*state.teacher)}, {"student", size_json(student)}};
  std::vector<std::string> notes = results.notes;
  if (options.baseline && is_more_than_quantized(state.recipe))
    add_baseline(state, name, how, student.size_bytes(), verified, notes);
  for (const char* mode : {"-fp32", "-deployed"}) std::filesystem::remove(scored + mode);
  return {.name = name, .results = verified.dump(), .measurements = measurements.dump(), .notes = notes};
}

}  // namespace attar
