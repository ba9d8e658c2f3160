#include "recipes/schema/stage_checks.h"

#include <algorithm>

#include "distill/alignment/aligned_dataset.h"
#include "distill/signal_source.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/formats/tokenizer/shared_vocabulary.h"

namespace attar {
namespace {

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

void check_gate_of_size(Looker& look, const std::string& key, const VerifyStage& verify, const Shape& shape) {
  const auto gate = verify.gates.find("bytes");
  if (gate == verify.gates.end() || !shape.gguf_bytes || gate->second >= static_cast<double>(*shape.gguf_bytes)) return;
  look.problem(key, ProblemKind::Whole,
               "verify.gates.bytes = " + size_text(static_cast<uint64_t>(gate->second)) +
                   ": cannot be met; the quantize stage before it writes at least " + size_text(*shape.gguf_bytes));
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

}  // namespace

void check_stages(Looker& look) {
  const RecipeInputs& in = look.inputs;
  check_lengths(look, std::min(in.teacher_config.context_length, in.student_config.context_length));
  check_tokenizers(look);
  Shape shape{in.student_config, tokenizer_of_student(in)};
  if (!in.chat_template.empty()) shape.tokenizer.chat_template = in.chat_template;
  check_shapes(look, std::move(shape));
}

}  // namespace attar
