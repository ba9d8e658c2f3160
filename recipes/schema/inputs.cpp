#include "recipes/schema/inputs.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "distill/alignment/aligned_dataset.h"
#include "distill/signal_source.h"
#include "prune/vocabulary.h"
#include "recipes/hub/hub_model.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/jinja/known_templates.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_paths.h"
#include "runtime/formats/tokenizer/shared_vocabulary.h"
#include "runtime/judge/tasks/evaluate.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

// Collects what fails, each with its place.
class Looker {
 public:
  Looker(const Recipe& looked_at, LookAt look_at, const Progress& downloads)
      : recipe(looked_at), everything(look_at == LookAt::Everything), progress(downloads) {}

  void problem(const std::string& key, ProblemKind kind, const std::string& what) {
    problems.push_back({kind, place_of(recipe.places, key), what});
  }
  // Whether `work` went through.
  template <class Work>
  bool attempt(const std::string& key, Work&& work, const std::string& before = {}) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      problem(key, error.kind() == ErrorKind::Usage ? ProblemKind::Whole : ProblemKind::Input, before + error.what());
      return false;
    }
  }

  const Recipe& recipe;
  const bool everything;
  const Progress& progress;
  std::vector<RecipeProblem> problems{};
  RecipeInputs inputs{};
  bool has_chats = false;
};

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

// An endpoint is asked only for what it can answer.
void check_prompts(Looker& look, const std::string& key, const std::string& file) {
  if (file.empty()) return;  // said
  look.attempt(key, [&] {
    for (const Document& prompt : recipe_documents(look.recipe, file))
      if (prompt.is_chat() && prompt.messages.back().role != "user")
        throw input_error(prompt.where, "does not end with a user turn", "user",
                          printable(prompt.messages.back().role));
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
      if (read(key, (*split)[i].texts()) && (*split)[i].endpoint_writes) check_prompts(look, key, (*split)[i].texts());
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

// What a stage asks of a student whose tokenizer is not the teacher's.
void check_across(Looker& look, const std::string& key, const Stage& stage, const Tokenizer& teacher,
                  const Tokenizer& student) {
  const auto wrong = [&](const std::string& what) { look.problem(key, ProblemKind::Whole, what); };
  if (const auto* distill = std::get_if<DistillStage>(&stage)) {
    if (const std::string needs = needs_same_tokens(*distill); !needs.empty())
      look.attempt(
          key, [&] { require_same_reading(teacher, student, "student", kAcrossTokenizers); },
          "distill." + needs + ": ");
    if (distill->arms)
      wrong("distill.arms: judges all arms token for token; expected false where the student has its own tokenizer");
  }
  if (const auto* quantize = std::get_if<QuantizeOptions>(&stage); quantize != nullptr && quantize->preset == "learned")
    wrong(
        "quantize.preset = learned: learns from the teacher token for token; expected fast or best where the student "
        "has its own tokenizer");
  if (std::holds_alternative<VerifyStage>(stage))
    wrong(
        "verify: compares both models token for token, and the student has its own tokenizer; leave it out and take "
        "`attar eval`, whose bits per byte compare");
}

// Whether the student has the control tokens of this run's chats: it is asked before the teacher has written any.
void check_chats(Looker& look, const Tokenizer& teacher, const Tokenizer& student) {
  if (look.inputs.chat_template.empty()) return;
  look.attempt("data.chat_template", [&] {
    DocumentTokenizer read(teacher, {.chat_template = recipe_template(look.recipe)});
    const Document chat{.text = {},
                        .messages = {{.role = "user", .content = "Who?"}, {.role = "assistant", .content = "Me."}}};
    in_tokens_of(student, read({chat}), teacher);
  });
}

void check_tokenizers(Looker& look) {
  const std::optional<ModelRecipe>& student = look.recipe.student;
  if (!student || (student->model.empty() && student->tokenizer.empty())) return;
  look.attempt("student", [&] {
    const Tokenizer teacher(tokenizer_of_teacher(look.inputs)), own(tokenizer_of_student(look.inputs));
    look.inputs.other_tokenizer = !same_reading(teacher, own);
    if (!look.inputs.other_tokenizer) return;
    check_chats(look, teacher, own);
    for (size_t i = 0; i < look.recipe.stages.size(); ++i)
      check_across(look, "stages." + std::to_string(i), look.recipe.stages[i], teacher, own);
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

// What is longer than the models' context. The teacher reads what the student reads.
void check_lengths(Looker& look, int64_t context) {
  const Recipe& recipe = look.recipe;
  if (recipe.teacher.pretrain)
    if (const std::string wrong = sequence_problem(*recipe.teacher.pretrain, look.inputs.teacher_config.context_length);
        !wrong.empty())
      look.problem("teacher.pretrain", ProblemKind::Whole, "teacher.pretrain." + wrong);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const std::string key = "stages." + std::to_string(i);
    if (const auto* distill = std::get_if<DistillStage>(&recipe.stages[i]))
      if (const std::string wrong = sequence_problem(*distill, context); !wrong.empty())
        look.problem(key, ProblemKind::Whole, "distill." + wrong);
    if (const auto* verify = std::get_if<VerifyStage>(&recipe.stages[i]);
        verify != nullptr && verify->context > context)
      look.problem(key, ProblemKind::Whole,
                   "verify.context = " + std::to_string(verify->context) + ": expected at most " +
                       std::to_string(context) + ", the models' context");
  }
}

// What a stage asks of a student that the stages before have shaped.
struct Shape {
  ModelConfig config;
  TokenizerData tokenizer;
  bool cut = false;                      // which tokens stay, the data decides: sizes are those of the tensors alone
  std::optional<uint64_t> gguf_bytes{};  // of the smallest file that the quantize stage before can write
};

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) * 1e-6);
  return text;
}

void check_gate_of_size(Looker& look, const std::string& key, const VerifyStage& verify, const Shape& shape) {
  const auto gate = verify.gates.find("bytes");
  if (gate == verify.gates.end() || !shape.gguf_bytes || gate->second >= static_cast<double>(*shape.gguf_bytes)) return;
  look.problem(key, ProblemKind::Whole,
               "verify.gates.bytes = " + megabytes(static_cast<uint64_t>(gate->second)) +
                   ": cannot be met; the quantize stage before it writes at least " + megabytes(*shape.gguf_bytes));
}

// The shape of the student through all stages.
void check_shapes(Looker& look, Shape shape) {
  const ExportInfo info = export_info(look.recipe, look.inputs);
  for (size_t i = 0; i < look.recipe.stages.size(); ++i) {
    const std::string key = "stages." + std::to_string(i);
    const Stage& stage = look.recipe.stages[i];
    if (const auto* prune = std::get_if<PruneOptions>(&stage)) {
      look.attempt(key, [&] {
        shape.config = pruned_shape(shape.config, *prune);
        if (shape.config.vocab_size >= static_cast<int64_t>(shape.tokenizer.tokens.size())) return;
        shape.tokenizer = cut_tokenizer(shape.tokenizer, shape.config.vocab_size), shape.cut = true;
      });
    } else if (const auto* quantize = std::get_if<QuantizeOptions>(&stage)) {
      look.attempt(
          key,
          [&] {
            const PlanTarget target =
                shape.cut ? PlanTarget{}
                          : gguf_plan_target(planned_config(shape.config, *quantize), shape.tokenizer, info);
            const QuantizePlan plan = plan_quantization(shape.config, *quantize, target);
            shape.gguf_bytes = quantize->to ? plan.tensor_bytes() + target.fixed_bytes
                                            : smallest_file_bytes(shape.config, *quantize, target);
          },
          "quantize.");
    } else if (const auto* verify = std::get_if<VerifyStage>(&stage)) {
      check_gate_of_size(look, key, *verify, shape);
    }
  }
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
  check_lengths(look, std::min(look.inputs.teacher_config.context_length, look.inputs.student_config.context_length));
  check_tokenizers(look);
  const RecipeInputs& in = look.inputs;
  Shape shape{in.student_config, tokenizer_of_student(in)};
  if (!in.chat_template.empty()) shape.tokenizer.chat_template = in.chat_template;
  check_shapes(look, std::move(shape));
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

std::vector<RecipeProblem> input_problems(const Recipe& recipe, LookAt look_at) {
  return looked(recipe, look_at, {}).problems;
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
