#include "recipes/schema/recipe_checks.h"

#include <algorithm>

#include "recipes/schema/inputs.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

std::string stage_key(size_t index) {
  return "stages." + std::to_string(index);
}
std::string source_key(const char* split, size_t index) {
  return std::string("data.") + split + "." + std::to_string(index);
}

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
void check_disjoint(const Recipe& recipe, const TellProblem& tell) {
  const auto refuse = [&](const char* name, const std::vector<DataSource>& split, const char* other_name,
                          const std::vector<DataSource>& other) {
    for (size_t i = 0; i < split.size(); ++i)
      for (const DataSource& source : other)
        if (const std::string shared = shared_text(recipe, split[i], source); !shared.empty())
          tell(source_key(name, i), std::string("data.") + name + ": " + printable(shared) + " is in data." +
                                        other_name + " too; the splits stay apart");
  };
  refuse("train", recipe.train, "evaluation", recipe.evaluation);
  refuse("calibration", recipe.calibration, "evaluation", recipe.evaluation);
  refuse("calibration", recipe.calibration, "train", recipe.train);
}

// The signal of a split is of one kind and of one teacher: the recipe's, or that behind an endpoint.
void check_signals(const Recipe& recipe, const TellProblem& tell) {
  for (const auto& [name, split] : {std::pair("train", &recipe.train), std::pair("calibration", &recipe.calibration)}) {
    const DataSource* first = nullptr;
    for (size_t i = 0; i < split->size(); ++i) {
      const DataSource& source = (*split)[i];
      if (source.signal_k() == 0) continue;
      if (first == nullptr) first = &source;
      if (source.endpoint_writes.has_value() != first->endpoint_writes.has_value())
        tell(source_key(name, i), std::string("data.") + name +
                                      ": expected signal_top_k: 0 in teacher_writes, or top_logprobs: 0 in "
                                      "endpoint_writes; the signal of a split is of one teacher");
      else if (source.endpoint_writes && source.signal_k() != first->signal_k())
        tell(source_key(name, i), std::string("data.") + name + ": expected the same `top_logprobs` in each " +
                                      "endpoint_writes of a split, " + std::to_string(first->signal_k() - 1) +
                                      " before");
    }
  }
  const auto of_endpoint = [](const DataSource& source) { return source.endpoint_writes && source.signal_k() > 0; };
  const auto without = [](const DataSource& source) { return source.signal_k() == 0; };
  if (std::none_of(recipe.train.begin(), recipe.train.end(), of_endpoint) ||
      std::none_of(recipe.train.begin(), recipe.train.end(), without))
    return;
  for (size_t i = 0; i < recipe.stages.size(); ++i)
    if (const auto* distill = std::get_if<DistillStage>(&recipe.stages[i]);
        distill != nullptr && distill->signal == "cached")
      tell(stage_key(i),
           "distill.signal = cached: expected top_logprobs: 0 in endpoint_writes, or no other text in data.train, of "
           "which the recipe's teacher would give the signal");
}

// One teacher writes all of a split with one kind of signal, and all of a kept signal is of one kind.
void check_written(const Recipe& recipe, const TellProblem& tell) {
  const auto differs = [](const DataSource& source, const std::string& numerics) {
    return source.teacher_writes && source.teacher_writes->numerics != numerics;
  };
  for (const auto& [name, split] : {std::pair("train", &recipe.train), std::pair("calibration", &recipe.calibration)}) {
    const TeacherWrites* first = nullptr;
    for (size_t i = 0; i < split->size(); ++i) {
      const DataSource& source = (*split)[i];
      if (first != nullptr && differs(source, first->numerics))
        tell(source_key(name, i), std::string("data.") + name + ": expected the same `numerics` in each " +
                                      "teacher_writes of a split, " + first->numerics + " before");
      if (first != nullptr && source.teacher_writes && source.teacher_writes->signal_top_k != first->signal_top_k)
        tell(source_key(name, i), std::string("data.") + name + ": expected the same `signal_top_k` in each " +
                                      "teacher_writes of a split, " + std::to_string(first->signal_top_k) + " before");
      if (source.teacher_writes && first == nullptr) first = &*source.teacher_writes;
    }
  }
  const bool reads = std::any_of(recipe.train.begin(), recipe.train.end(),
                                 [](const DataSource& source) { return source.signal_k() == 0; });
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto* distill = std::get_if<DistillStage>(&recipe.stages[i]);
    if (distill == nullptr || distill->signal != "cached" || !reads) continue;  // a sample is drawn anew
    for (const DataSource& source : recipe.train)
      if (differs(source, distill->signal_numerics))
        return tell(stage_key(i), "distill.signal_numerics = " + distill->signal_numerics +
                                      ": expected the `numerics` of data.train's teacher_writes, since "
                                      "files of data.train are read too");
  }
}

void check_teacher(const Recipe& recipe, const TellProblem& tell) {
  const ModelRecipe& teacher = recipe.teacher;
  if (teacher.pretrain && std::none_of(recipe.train.begin(), recipe.train.end(),
                                       [](const DataSource& source) { return !source.file.empty(); }))
    tell("teacher.pretrain", "teacher.pretrain: needs a file in data.train");
  for (const auto& [key, model] :
       {std::pair("teacher", &teacher), std::pair("student", recipe.student ? &*recipe.student : nullptr)})
    if (model != nullptr && model->architecture && problems_of(*model->architecture).empty()) {
      try {
        to_config(*model->architecture, 1);  // the tokenizer is not read yet
      } catch (const Error& error) {
        tell(key, error.what());
      }
    }
}

// What the stages before have made.
struct Made {
  bool quantized = false, exported = false, gguf = false;
};

void check_stage(const Recipe& recipe, size_t index, Made& made, const TellProblem& tell) {
  const Stage& stage = recipe.stages[index];
  const auto wrong = [&](const std::string& what) {
    tell(stage_key(index), std::string(stage_name(stage)) + ": " + what);
  };
  const bool changes_weights =
      std::holds_alternative<PruneOptions>(stage) || std::holds_alternative<DistillStage>(stage);
  if (changes_weights && made.quantized) wrong("cannot follow quantize; move it before");
  if (const auto* distill = std::get_if<DistillStage>(&stage)) {
    if (recipe.train.empty()) wrong("needs data.train");
    if (distill->arms && recipe.evaluation.empty())
      wrong("arms: needs data.evaluation, the text that arms are judged on");
    if (distill->keep_zeros && recipe.student && recipe.student->architecture)
      wrong("keep_zeros: the student's weights are random, and have no zeros to keep");
  }
  if (const auto* prune = std::get_if<PruneOptions>(&stage);
      prune != nullptr && asks_the_text(*prune) && recipe.calibration.empty())
    wrong("needs data.calibration, or data.train to take some of");
  if (const auto* quantize = std::get_if<QuantizeOptions>(&stage)) {
    if (quantize->importance && recipe.calibration.empty())
      wrong("needs data.calibration or data.train to take some of, or importance: false");
    if (quantize->preset == "learned" && recipe.train.empty()) wrong("preset learned needs data.train");
    made.quantized = true;
  }
  if (const auto* exporting = std::get_if<ExportOptions>(&stage)) {
    const auto has = [&](const char* format) {
      return std::find(exporting->formats.begin(), exporting->formats.end(), format) != exporting->formats.end();
    };
    made.exported = true, made.gguf |= has("gguf");
    if (!made.quantized && has("compressed-tensors"))
      wrong("compressed-tensors holds codes; it needs a quantize stage before it");
    if (!made.quantized && exporting->dequantized)
      wrong("dequantized: writes the values of codes; it needs a quantize stage before it");
  }
  if (std::holds_alternative<VerifyStage>(stage)) {
    if (recipe.evaluation.empty()) wrong("needs data.evaluation");
    if (!made.exported)
      wrong("needs an export stage before it, since it judges the exported file");
    else if (!made.gguf)
      wrong("needs gguf among the formats of the export stage before it, since it judges that file");
  }
}

}  // namespace

void check_recipe(const Recipe& recipe, const TellProblem& tell) {
  check_teacher(recipe, tell);
  Made made;
  for (size_t i = 0; i < recipe.stages.size(); ++i) check_stage(recipe, i, made, tell);
  for (size_t i = 0; i < recipe.calibration.size(); ++i)
    if (recipe.calibration[i].from_train > 0 && recipe.train.empty())
      tell(source_key("calibration", i), "data.calibration.from_train: needs data.train");
  check_disjoint(recipe, tell);
  check_written(recipe, tell);
  check_signals(recipe, tell);
}

}  // namespace attar
