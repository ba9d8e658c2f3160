#include "recipes/schema/inputs.h"

#include <algorithm>
#include <filesystem>

#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/jinja/known_templates.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

TokenizerData read_own_tokenizer(const Recipe& recipe) {
  const std::string path = recipe_model(recipe, recipe.teacher.tokenizer);
  return fs::is_directory(path) ? read_hf_tokenizer(path) : ModelFile::open(path).tokenizer();
}

std::vector<std::string> data_files(const Recipe& recipe) {
  std::vector<std::string> files;
  for (const auto* split : {&recipe.train, &recipe.calibration, &recipe.evaluation})
    for (const DataSource& source : *split) {
      const std::string& file = source.teacher_writes ? source.teacher_writes->prompts : source.file;
      if (!file.empty()) files.push_back(file);
    }
  for (const Stage& stage : recipe.stages)
    if (const auto* verify = std::get_if<VerifyStage>(&stage); verify != nullptr && !verify->prompts.empty())
      files.push_back(verify->prompts);
  return files;
}

void open_teacher(const Recipe& recipe, RecipeInputs& inputs) {
  if (recipe.teacher.model.empty()) {
    inputs.own_tokenizer = read_own_tokenizer(recipe);
    inputs.sha256["tokenizer"] = sha256(Tokenizer(inputs.own_tokenizer).hash() + inputs.own_tokenizer.chat_template);
    inputs.teacher_config =
        to_config(*recipe.teacher.architecture, static_cast<int64_t>(inputs.own_tokenizer.tokens.size()));
    inputs.teacher_bytes = 4 * static_cast<uint64_t>(inputs.teacher_config.parameter_count());
    return;
  }
  inputs.teacher = ModelFile::open(recipe_model(recipe, recipe.teacher.model));
  inputs.sha256["teacher"] = inputs.teacher->content_hash();
  inputs.teacher_config = inputs.teacher->config();
  inputs.teacher_bytes = inputs.teacher->size_bytes();
}

void open_student(const Recipe& recipe, RecipeInputs& inputs) {
  inputs.student_config = inputs.teacher_config;
  if (!recipe.student) return;
  if (recipe.student->model.empty()) {
    inputs.student_config = to_config(*recipe.student->architecture, inputs.teacher_config.vocab_size);
    return;
  }
  inputs.student = ModelFile::open(recipe_model(recipe, recipe.student->model));
  inputs.sha256["student"] = inputs.student->content_hash();
  inputs.student_config = inputs.student->config();
}

bool teacher_answers(const Recipe& recipe) {
  for (const auto* split : {&recipe.train, &recipe.calibration})
    for (const DataSource& source : *split)
      if (source.teacher_writes && source.teacher_writes->prompt == "chat") return true;
  return false;
}

// Nobody learns chats through a template that nobody has chosen: it is settled, and said, before the run begins.
void choose_template(const Recipe& recipe, bool has_chats, RecipeInputs& inputs) {
  const std::string given = recipe_template(recipe);
  if (!has_chats && given.empty()) return;
  if (!given.empty() && fs::exists(given)) inputs.sha256[recipe.text.chat_template] = sha256_of_file(given);
  const Tokenizer tokenizer(inputs.teacher ? inputs.teacher->tokenizer() : inputs.own_tokenizer);
  TextReader reader(tokenizer, {.chat_template = given});
  reader.require_template();
  inputs.chat_template = reader.chat_template();
  inputs.notes = reader.notes();
  if (!inputs.teacher) inputs.own_tokenizer.chat_template = inputs.chat_template;
}

// The teacher reads what the student reads.
void check_sequences(const Recipe& recipe, const RecipeInputs& inputs) {
  for (size_t i = 0; i < recipe.stages.size(); ++i)
    if (const auto* distill = std::get_if<DistillOptions>(&recipe.stages[i]))
      for (const ModelConfig* config : {&inputs.teacher_config, &inputs.student_config})
        if (const std::string wrong = sequence_problem(*distill, config->context_length); !wrong.empty())
          throw usage_error(recipe.path, "stage " + std::to_string(i + 1) + ": distill." + wrong);
}

}  // namespace

std::string recipe_relative(const Recipe& recipe, const std::string& file) {
  const fs::path path(file);
  return path.is_absolute() ? file : (fs::path(recipe.path).parent_path() / path).string();
}

std::string recipe_model(const Recipe& recipe, const std::string& model) {
  if (model.rfind("pip:", 0) == 0) return model;
  const std::string beside = recipe_relative(recipe, model);
  return fs::exists(beside) ? beside : model;
}

std::string recipe_template(const Recipe& recipe) {
  return template_path(recipe, recipe.text.chat_template);
}

std::string template_path(const Recipe& recipe, const std::string& given) {
  return given.empty() || find_known_template(given) != nullptr ? given : recipe_relative(recipe, given);
}

RecipeInputs open_inputs(const Recipe& recipe) {
  RecipeInputs inputs;
  bool has_chats = false;
  for (const std::string& file : data_files(recipe)) {
    const std::string path = recipe_relative(recipe, file);
    if (fs::is_directory(path)) throw input_error(path, "is a folder", "a text or chat file");
    // Text that cannot be read is found now, not after the teacher's training.
    const std::vector<Document> documents = read_documents(path);
    has_chats |= std::any_of(documents.begin(), documents.end(), [](const Document& d) { return d.is_chat(); });
    inputs.sha256[file] = sha256_of_file(path);
  }
  open_teacher(recipe, inputs);
  choose_template(recipe, has_chats || teacher_answers(recipe), inputs);
  open_student(recipe, inputs);
  check_sequences(recipe, inputs);
  for (const StageProblem& problem : shape_problems(recipe, inputs.student_config))
    throw usage_error(recipe.path, "stage " + std::to_string(problem.stage + 1) + ": " + problem.what);
  return inputs;
}

std::vector<StageProblem> shape_problems(const Recipe& recipe, ModelConfig student) {
  std::vector<StageProblem> problems;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    try {
      if (const auto* prune = std::get_if<PruneOptions>(&recipe.stages[i])) student = pruned_shape(student, *prune);
      if (const auto* quantize = std::get_if<QuantizeOptions>(&recipe.stages[i]))
        plan_quantization(student, *quantize, {});  // a size that tensors alone go past is known to fail
    } catch (const Error& error) {
      problems.push_back({i, error.what()});
    }
  }
  return problems;
}

}  // namespace attar
