#include "recipes/schema/inputs.h"

#include <algorithm>
#include <filesystem>

#include "prune/vocabulary.h"
#include "recipes/hub/hub_model.h"
#include "recipes/schema/stage_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/jinja/known_templates.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_paths.h"
#include "runtime/judge/tasks/evaluate.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

// What a path of the recipe would have been, seen from where the command was typed.
std::string meant_path(const std::string& given, const std::string& path) {
  if (given.empty() || fs::path(given).is_absolute() || fs::exists(path) || !fs::exists(given)) return {};
  return "; paths in a recipe start at its folder: " +
         fs::relative(fs::absolute(given), fs::absolute(path).parent_path()).string() +
         " would be the one that lies here";
}

std::string model_path(const Recipe& recipe, const std::string& given) {
  const std::string path = recipe_model(recipe, given);
  if (const std::string meant = meant_path(given, path); path != given && !meant.empty())
    throw input_error(path, "does not exist" + meant);
  return path;
}

TokenizerData read_own_tokenizer(const Recipe& recipe, const ModelRecipe& model, const Progress& progress) {
  const std::string given = model_path(recipe, model.tokenizer);
  const std::string path = is_on_hub(given) ? fetch_hub_model(given, HubPart::Tokenizer, progress).path : given;
  return fs::is_directory(path) ? read_hf_tokenizer(path) : ModelFile::open(path).tokenizer();
}

// Who has answered already has nothing to say.
void require_user_turn(const Document& prompt) {
  if (prompt.is_chat() && prompt.messages.back().role != "user")
    throw input_error(prompt.where, "does not end with a user turn", "user", printable(prompt.messages.back().role));
}

// An endpoint is asked only for what it can answer.
void check_prompts(Looker& look, const std::string& key, const std::string& file) {
  if (file.empty()) return;  // said
  look.attempt(key, [&] {
    for (const Document& prompt : recipe_documents(look.recipe, file)) require_user_turn(prompt);
  });
}

// A teacher answers chats, or goes on with texts.
void check_prompts(Looker& look, const std::string& key, const TeacherWrites& writes) {
  if (writes.prompts.empty()) return;  // it writes them too
  look.attempt(key, [&] {
    for (const Document& prompt : recipe_documents(look.recipe, writes.prompts)) {
      if (prompt.is_chat() == (writes.prompt == "chat")) {
        require_user_turn(prompt);
        continue;
      }
      if (prompt.is_chat())
        throw input_error(prompt.where, "is a chat", "the beginning of a text", "", "or prompt: chat");
      throw input_error(prompt.where, "is not a chat", "a line with `messages`", "", "or prompt: none");
    }
  });
}

void look_at_data(Looker& look) {
  const auto read = [&](const std::string& key, const std::string& file) {
    if (file.empty() || look.inputs.sha256.contains(file)) return true;
    return look.attempt(key, [&] {
      if (const std::string path = recipe_relative(look.recipe, file), meant = meant_path(file, path); !meant.empty())
        throw input_error(path, "does not exist" + meant);
      for (const auto& [text, path] : recipe_texts(look.recipe, file)) {
        // Text that cannot be read is found now, not after the teacher's training.
        const std::vector<Document> documents = read_documents(path);
        look.has_chats |=
            std::any_of(documents.begin(), documents.end(), [](const Document& d) { return d.is_chat(); });
        look.inputs.sha256[text] = sha256_of_file(path);
      }
    });
  };
  for (const auto& [name, split] : {std::pair("train", &look.recipe.train),
                                    {"calibration", &look.recipe.calibration},
                                    {"evaluation", &look.recipe.evaluation}})
    for (size_t i = 0; i < split->size(); ++i) {
      const std::string key = std::string("data.") + name + "." + std::to_string(i);
      const DataSource& source = (*split)[i];
      if (!read(key, source.texts())) continue;
      if (source.endpoint_writes) check_prompts(look, key, source.texts());
      if (source.teacher_writes) check_prompts(look, key, *source.teacher_writes);
    }
  for (size_t i = 0; i < look.recipe.stages.size(); ++i)
    if (const auto* verify = std::get_if<VerifyStage>(&look.recipe.stages[i]))
      read("stages." + std::to_string(i), verify->prompts);
}

void look_at_tasks(Looker& look) {
  for (size_t i = 0; i < look.recipe.stages.size(); ++i)
    if (const auto* verify = std::get_if<VerifyStage>(&look.recipe.stages[i]))
      for (const std::string& file : verify->tasks)
        look.attempt(
            "stages." + std::to_string(i),
            [&] {
              const std::string path = recipe_relative(look.recipe, file);
              runtime::read_task(path);
              look.inputs.sha256[file] = sha256_of_file(path);
            },
            "verify.tasks: ");
}

bool look_at_teacher(Looker& look) {
  RecipeInputs& inputs = look.inputs;
  const ModelRecipe& teacher = look.recipe.teacher;
  if (teacher.model.empty()) {
    if (teacher.tokenizer.empty()) return false;  // said already
    const bool read = look.attempt("teacher.tokenizer", [&] {
      inputs.own_tokenizer = read_own_tokenizer(look.recipe, teacher, look.progress);
      inputs.sha256["tokenizer"] = sha256(Tokenizer(inputs.own_tokenizer).hash() + inputs.own_tokenizer.chat_template);
    });
    if (!read || !look.everything || !teacher.architecture) return false;
    return look.attempt("teacher", [&] {
      inputs.teacher_config =
          to_config(*teacher.architecture, static_cast<int64_t>(inputs.own_tokenizer.tokens.size()));
      inputs.teacher_bytes = 4 * static_cast<uint64_t>(inputs.teacher_config.parameter_count());
    });
  }
  return look.attempt("teacher", [&] {
    inputs.teacher = ModelFile::open(model_path(look.recipe, teacher.model), hub_source(look.progress));
    inputs.sha256["teacher"] = inputs.teacher->content_hash();
    inputs.teacher_config = inputs.teacher->config();
    inputs.teacher_bytes = inputs.teacher->size_bytes();
  });
}

bool look_at_student(Looker& look) {
  RecipeInputs& inputs = look.inputs;
  inputs.student_config = inputs.teacher_config;
  const std::optional<ModelRecipe>& student = look.recipe.student;
  if (!student) return true;
  if (student->model.empty()) {
    if (!student->tokenizer.empty() && !look.attempt("student.tokenizer", [&] {
          inputs.student_tokenizer = read_own_tokenizer(look.recipe, *student, look.progress);
          inputs.sha256["student.tokenizer"] =
              sha256(Tokenizer(inputs.student_tokenizer).hash() + inputs.student_tokenizer.chat_template);
        }))
      return false;
    if (!look.everything || !student->architecture) return false;
    const auto own = static_cast<int64_t>(inputs.student_tokenizer.tokens.size());
    return look.attempt("student", [&] {
      inputs.student_config = to_config(*student->architecture, own > 0 ? own : inputs.teacher_config.vocab_size);
    });
  }
  return look.attempt("student", [&] {
    inputs.student = ModelFile::open(model_path(look.recipe, student->model), hub_source(look.progress));
    inputs.sha256["student"] = inputs.student->content_hash();
    inputs.student_config = inputs.student->config();
  });
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

Looker looked(const Recipe& recipe, LookAt look_at, const Progress& progress) {
  Looker look(recipe, look_at, progress);
  look_at_data(look);
  look_at_tasks(look);
  const bool teacher = look_at_teacher(look), student = look_at_student(look);
  if (teacher || !look.inputs.own_tokenizer.tokens.empty())
    look.attempt("data.chat_template",
                 [&] { choose_template(recipe, look.has_chats || teacher_answers(recipe), look.inputs); });
  if (!teacher || !student || !look.everything) return look;
  check_stages(look);
  return look;
}

}  // namespace

std::string recipe_relative(const Recipe& recipe, const std::string& file) {
  const fs::path path(file);
  return path.is_absolute() ? file : (fs::path(recipe.path).parent_path() / path).string();
}

std::vector<RecipeText> recipe_texts(const Recipe& recipe, const std::string& given) {
  const std::string folder = fs::path(recipe.path).parent_path().string();
  const bool beside = !folder.empty() && !fs::path(given).is_absolute();
  std::vector<RecipeText> texts;
  for (const std::string& path : text_paths(recipe_relative(recipe, given)))
    texts.push_back({beside && path.starts_with(folder + "/") ? path.substr(folder.size() + 1) : path, path});
  return texts;
}

std::vector<Document> recipe_documents(const Recipe& recipe, const std::string& given) {
  std::vector<std::string> paths;
  for (const RecipeText& text : recipe_texts(recipe, given)) paths.push_back(text.path);
  return read_all_documents(paths);
}

std::string recipe_model(const Recipe& recipe, const std::string& model) {
  return model.rfind("pip:", 0) == 0 || is_on_hub(model) ? model : recipe_relative(recipe, model);
}

std::string recipe_template(const Recipe& recipe) {
  return template_path(recipe, recipe.text.chat_template);
}

std::string template_path(const Recipe& recipe, const std::string& given) {
  return given.empty() || find_known_template(given) != nullptr ? given : recipe_relative(recipe, given);
}

TokenizerData tokenizer_of_teacher(const RecipeInputs& inputs) {
  return inputs.teacher ? inputs.teacher->tokenizer() : inputs.own_tokenizer;
}

TokenizerData tokenizer_of_student(const RecipeInputs& inputs) {
  if (inputs.student) return inputs.student->tokenizer();
  return inputs.student_tokenizer.tokens.empty() ? tokenizer_of_teacher(inputs) : inputs.student_tokenizer;
}

RecipeInputs open_inputs(const Recipe& recipe, const Progress& progress) {
  Looker found = looked(recipe, LookAt::Everything, progress);
  throw_problems(recipe.file, found.problems);
  return std::move(found.inputs);
}

std::vector<RecipeProblem> input_problems(const Recipe& recipe, LookAt look_at, const Progress& progress) {
  return looked(recipe, look_at, progress).problems;
}

Recipe with_pinned_models(Recipe recipe, const Progress& progress) {
  recipe.teacher.model = pinned_model(recipe.teacher.model, HubPart::Model, progress);
  recipe.teacher.tokenizer = pinned_model(recipe.teacher.tokenizer, HubPart::Tokenizer, progress);
  if (recipe.student) {
    recipe.student->model = pinned_model(recipe.student->model, HubPart::Model, progress);
    recipe.student->tokenizer = pinned_model(recipe.student->tokenizer, HubPart::Tokenizer, progress);
  }
  return recipe;
}

ExportInfo export_info(const Recipe& recipe, const RecipeInputs& inputs) {
  const Provenance teacher = inputs.teacher ? inputs.teacher->provenance() : own_provenance(recipe);
  ExportInfo info;
  info.provenance = inputs.student ? inputs.student->provenance() : teacher;
  std::vector<std::string>& bases = info.provenance.base_models;
  if (!teacher.name.empty()) bases.insert(bases.begin(), teacher.name);
  if (inputs.student && !info.provenance.name.empty()) bases.insert(bases.begin(), info.provenance.name);
  info.provenance.name = recipe.name;
  info.recipe_name = recipe.name;
  info.attar_version = ATTAR_VERSION;
  return info;
}

Provenance own_provenance(const Recipe& recipe) {
  Provenance provenance;
  provenance.name = recipe.name + "-teacher";
  return provenance;
}

TokenizerData cut_tokenizer(const TokenizerData& tokenizer, int64_t size) {
  return trim_vocabulary(tokenizer, std::vector<int64_t>(tokenizer.tokens.size()), size).tokenizer;
}

}  // namespace attar
