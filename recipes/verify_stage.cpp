// The verify stage: the exported file against the teacher, in the native runtime.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/session.h"
#include "recipes/splits.h"
#include "runtime/base/error.h"
#include "runtime/cli/measure.h"
#include "runtime/formats/chat_template.h"
#include "runtime/generate.h"
#include "runtime/verify.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSampleTokens = 80;
constexpr const char* kQuestions[] = {"What is the capital of France?", "Give me three tips for sleeping well.",
                                      "Write a short story about a lost key.", "Why do leaves change colour in autumn?",
                                      "Explain what a computer program is."};

// What one model answers, greedily, so that the report shows the same text each time.
std::vector<std::string> answers(const ModelFile& file, const std::vector<std::string>& prompts, int threads) {
  ThreadPool pool(threads);
  const runtime::Model model = runtime::Model::load(file, {}, pool);
  runtime::Workspace work(model, pool);
  const TokenizerData& data = model.tokenizer().data();
  const auto text = [&](int32_t id) { return id < 0 ? std::string() : data.tokens[static_cast<size_t>(id)].text; };
  std::vector<std::string> out;
  for (const std::string& prompt : prompts) {
    std::vector<int32_t> tokens;
    if (data.chat_template.empty()) {
      tokens = model.tokenizer().encode(prompt);
    } else {
      const ChatContext context{
          .messages = {{"user", prompt}}, .bos_token = text(data.bos), .eos_token = text(data.eos)};
      tokens = model.tokenizer().encode(ChatTemplate(data.chat_template).render(context),
                                        {.add_special = false, .parse_special = true});
    }
    runtime::KvCache cache(model);
    runtime::GenerateOptions options;
    options.max_tokens = std::min(kSampleTokens, model.config().context_length - static_cast<int64_t>(tokens.size()));
    options.sampling.temperature = 0.0;
    options.sampling.repetition_penalty = 1.1;
    out.push_back(tokens.empty() ? "" : runtime::generate(model, cache, tokens, options, work).text);
  }
  return out;
}

Json samples_json(const ModelFile& teacher, const ModelFile& student, int64_t count, int threads) {
  std::vector<std::string> prompts;
  for (const char* question : kQuestions)
    if (static_cast<int64_t>(prompts.size()) < count) prompts.emplace_back(question);
  Json samples = Json::array();
  if (prompts.empty()) return samples;
  const std::vector<std::string> a = answers(teacher, prompts, threads), b = answers(student, prompts, threads);
  for (size_t i = 0; i < prompts.size(); ++i)
    samples.push_back({{"prompt", prompts[i]}, {"teacher", a[i]}, {"student", b[i]}});
  return samples;
}

std::string measuring_program(const RunOptions& options) {
  return options.runtime_program.empty() ? cli::runtime_program() : options.runtime_program;
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

StageRecord run_stage(Session& session, const std::string& name, const VerifyStage& options) {
  const std::string path = session.folder.file("export/model.gguf");
  if (!std::filesystem::exists(path))
    throw input_error(path, "is missing", "the GGUF of an export stage", "", "add gguf to the export stage's formats");
  const ModelFile student = ModelFile::open(path);
  runtime::VerifyResults results;
  {
    ThreadPool pool(session.threads);
    results = runtime::verify(*session.teacher, student, evaluation_documents(session.recipe), options, pool,
                              session.progress);
  }
  std::optional<runtime::Efficiency> teacher_speed, student_speed;
  if (options.bench) {
    const std::string program = measuring_program(session.options);
    report(session.progress, {.stage = "measure", .unit = "models", .done = 0, .total = 2});
    teacher_speed = cli::measure(program, session.teacher_model, session.threads);
    report(session.progress, {.stage = "measure", .unit = "models", .done = 1, .total = 2});
    student_speed = cli::measure(program, path, session.threads);
    report(session.progress, {.stage = "measure", .unit = "models", .done = 2, .total = 2});
  }
  const std::vector<runtime::GateResult> gates =
      runtime::judge(options.gates, results, teacher_speed, student_speed, student.size_bytes());
  const Json document = Json::parse(cli::verify_document(results, teacher_speed, student_speed, gates));
  Json measurements = document.at("measurements");
  measurements["gates"] = document.at("gates");
  if (!options.bench) measurements = {{"gates", document.at("gates")}};
  measurements["samples"] = samples_json(*session.teacher, student, options.samples, session.threads);
  return {.name = name, .results = document.at("results").dump(), .measurements = measurements.dump()};
}

}  // namespace attar
