// What a recipe takes from outside: files and models. They are found, read and checked before the run folder is made,
// and a run only goes on beside the contents it began with.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "export/export.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/text_file.h"

namespace attar {

// A data file of a recipe, seen from the recipe's own folder.
std::string recipe_relative(const Recipe& recipe, const std::string& file);
// The text files that a data source or `prompts` names: a file, all of a folder, what matches a pattern
// (runtime/formats/text_paths.h). `name`: as messages and inputs.json have it, seen from the recipe's folder.
struct RecipeText {
  std::string name, path;
};
std::vector<RecipeText> recipe_texts(const Recipe& recipe, const std::string& given);
// All documents of them.
std::vector<Document> recipe_documents(const Recipe& recipe, const std::string& given);
// A MODEL of a recipe: pip:PACKAGE, hf:ORG/NAME, or a path seen from the recipe's folder.
std::string recipe_model(const Recipe& recipe, const std::string& model);

// `data.chat_template`: a name, or a file seen from the recipe's folder; empty: each model's own.
std::string recipe_template(const Recipe& recipe);
std::string template_path(const Recipe& recipe, const std::string& given);  // the same of another key

struct RecipeInputs {
  std::optional<ModelFile> teacher, student;  // nothing: made here
  TokenizerData own_tokenizer;                // of a teacher that is made here
  TokenizerData student_tokenizer;            // of a student that is made here with its own; no tokens: the teacher's
  bool other_tokenizer = false;               // the student's is neither the teacher's nor trimmed from it
  ModelConfig teacher_config, student_config;
  uint64_t teacher_bytes = 0;
  std::string chat_template;                  // source of what the chats of this run go through; empty: it has none
  std::vector<std::string> notes;             // what was chosen for want of anything said
  std::map<std::string, std::string> sha256;  // of the contents, by "teacher", "tokenizer", ... or data file
};

TokenizerData tokenizer_of_teacher(const RecipeInputs& inputs);
TokenizerData tokenizer_of_student(const RecipeInputs& inputs);

// Every problem at once: files that are missing or cannot be read, models, what a model of this shape cannot go
// through.
RecipeInputs open_inputs(const Recipe& recipe, const Progress& progress = {});
enum class LookAt { Files, Everything };
std::vector<RecipeProblem> input_problems(const Recipe& recipe, LookAt look_at, const Progress& progress = {});

// The recipe with the commit in the name of each model that is on the hub: what its run records and goes on with.
Recipe with_pinned_models(Recipe recipe, const Progress& progress);

// What an export of this recipe's student says about itself. The licence is that of the model whose weights it starts
// from: the student's, where the recipe names one.
ExportInfo export_info(const Recipe& recipe, const RecipeInputs& inputs);
// Of a teacher that is trained here.
Provenance own_provenance(const Recipe& recipe);

// What stays of a tokenizer when a vocabulary is cut to `size`, whatever the data says. Error{Usage}: less than what is
// always kept.
TokenizerData cut_tokenizer(const TokenizerData& tokenizer, int64_t size);

}  // namespace attar
