#include "recipes/schema/recipe_checks.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "recipes/schema/inputs.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// A name that stands for nothing is said where the files are opened.
std::vector<RecipeText> texts_of(const Recipe& recipe, const DataSource& source) {
  try {
    return recipe_texts(recipe, source.file);
  } catch (const Error&) {
    return {{source.file, recipe_relative(recipe, source.file)}};
  }
}

// The name of a file that both sources have; "": there is none.
std::string shared_text(const Recipe& recipe, const DataSource& a, const DataSource& b) {
  if (a.file.empty() || b.file.empty()) return {};
  const std::vector<RecipeText> others = texts_of(recipe, b);
  for (const RecipeText& text : texts_of(recipe, a))
    for (const RecipeText& other : others)
      if (text.path == other.path) return text.name;
  return {};
}

// Text in two splits would be dropped from one of them, document by document.
void check_disjoint(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell) {
  const auto refuse = [&](const char* name, const std::vector<DataSource>& split, const char* other_name,
                          const std::vector<DataSource>& other) {
    for (size_t i = 0; i < split.size(); ++i)
      for (const DataSource& source : other)
        if (const std::string shared = shared_text(recipe, split[i], source); !shared.empty())
          tell(root["data"][name][i], std::string("data.") + name + ": " + printable(shared) + " is in data." +
                                          other_name + " too; the splits stay apart");
  };
  refuse("train", recipe.train, "evaluation", recipe.evaluation);
  refuse("calibration", recipe.calibration, "evaluation", recipe.evaluation);
  refuse("calibration", recipe.calibration, "train", recipe.train);
}

// What a model of a shape that the recipe itself gives cannot go through.
void check_shapes(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell) {
  const ModelRecipe& start = recipe.student ? *recipe.student : recipe.teacher;
  if (!start.architecture) return;            // of a MODEL, which is opened later
  constexpr int64_t kSmallestVocabulary = 1;  // the tokenizer is not read yet
  ModelConfig shape;
  try {
    shape = to_config(*start.architecture, kSmallestVocabulary);
  } catch (const Error& error) {
    return tell(root[recipe.student ? "student" : "teacher"], error.what());
  }
  for (const StageProblem& problem : shape_problems(recipe, shape)) tell(root["stages"][problem.stage], problem.what);
}

// One teacher writes all of a split, and all of a kept signal is of one kind.
void check_numerics(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell) {
  const auto differs = [](const DataSource& source, const std::string& numerics) {
    return source.teacher_writes && source.teacher_writes->numerics != numerics;
  };
  for (const auto& [name, split] : {std::pair("train", &recipe.train), std::pair("calibration", &recipe.calibration)}) {
    const std::string* first = nullptr;
    for (size_t i = 0; i < split->size(); ++i) {
      const DataSource& source = (*split)[i];
      if (first != nullptr && differs(source, *first))
        tell(root["data"][name][i], std::string("data.") + name + ": expected the same `numerics` in each " +
                                        "teacher_writes of a split, " + *first + " before");
      if (source.teacher_writes && first == nullptr) first = &source.teacher_writes->numerics;
    }
  }
  const bool reads = std::any_of(recipe.train.begin(), recipe.train.end(), [](const DataSource& source) {
    return !source.teacher_writes || source.teacher_writes->signal_top_k == 0;
  });
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto* distill = std::get_if<DistillOptions>(&recipe.stages[i]);
    if (distill == nullptr || distill->signal != "cached" || !reads) continue;
    for (const DataSource& source : recipe.train)
      if (differs(source, distill->signal_numerics))
        return tell(root["stages"][i], "distill.signal_numerics = " + distill->signal_numerics +
                                           ": expected the `numerics` of data.train's teacher_writes, since "
                                           "files of data.train are read too");
  }
}

// What one key cannot know: stages that need data, a teacher that is not there, an order that cannot work.
void check_whole(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell) {
  bool quantized = false, exported = false;
  if (const ModelRecipe& teacher = recipe.teacher; teacher.pretrain && teacher.architecture)
    if (const std::string wrong = sequence_problem(*teacher.pretrain, teacher.architecture->context); !wrong.empty())
      tell(root["teacher"]["pretrain"], "teacher.pretrain." + wrong);
  if (recipe.teacher.pretrain && std::none_of(recipe.train.begin(), recipe.train.end(),
                                              [](const DataSource& source) { return !source.file.empty(); }))
    tell(root["teacher"]["pretrain"], "teacher.pretrain: needs a file in data.train");
  const YAML::Node stages = root["stages"];
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const Stage& stage = recipe.stages[i];
    const YAML::Node at = stages[i];
    const bool changes_weights =
        std::holds_alternative<PruneOptions>(stage) || std::holds_alternative<DistillOptions>(stage);
    if (changes_weights && quantized)
      tell(at, std::string(stage_name(stage)) + ": cannot follow quantize; move it before");
    if (std::holds_alternative<DistillOptions>(stage) && recipe.train.empty()) tell(at, "distill: needs data.train");
    if (std::holds_alternative<PruneOptions>(stage) && recipe.calibration.empty())
      tell(at, "prune: needs data.calibration");
    if (const auto* quantize = std::get_if<QuantizeOptions>(&stage)) {
      if (quantize->importance && recipe.calibration.empty())
        tell(at, "quantize: needs data.calibration, or importance: false");
      if (quantize->preset == "learned" && recipe.train.empty()) tell(at, "quantize: preset learned needs data.train");
      quantized = true;
    }
    if (const auto* exporting = std::get_if<ExportOptions>(&stage)) {
      exported = true;
      const auto& formats = exporting->formats;
      if (!quantized && std::find(formats.begin(), formats.end(), "compressed-tensors") != formats.end())
        tell(at, "export: compressed-tensors holds codes; it needs a quantize stage before it");
    }
    if (std::holds_alternative<VerifyStage>(stage)) {
      if (recipe.evaluation.empty()) tell(at, "verify: needs data.evaluation");
      if (!exported) tell(at, "verify: needs an export stage before it, since it judges the exported file");
    }
  }
}

}  // namespace

void check_recipe(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell) {
  check_whole(root, recipe, tell);
  check_disjoint(root, recipe, tell);
  check_numerics(root, recipe, tell);
  check_shapes(root, recipe, tell);
}

}  // namespace attar
