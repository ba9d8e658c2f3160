#include "recipes/arms/arms.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "compress/checkpoint.h"
#include "distill/losses/loss_term.h"
#include "distill/training_state.h"
#include "recipes/arms/arms_results.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

struct Planned {
  Arm arm{};
  uint64_t seed = 0;
};

// The arms of all seeds in the order in which they are trained: the one that goes on as the student is the last.
std::vector<Planned> plan_of(const ArmsInputs& arms, uint64_t first_seed) {
  std::vector<Planned> plan;
  const std::vector<Arm> each = arms_of(arms.from_scratch);
  for (int64_t i = 0; i < arms.seeds; ++i)
    for (const Arm& arm : each)
      if (const uint64_t seed = first_seed + static_cast<uint64_t>(i); i > 0 || arm != each.back())
        plan.push_back({arm, seed});
  plan.push_back({each.back(), first_seed});
  return plan;
}

class Arms {
 public:
  Arms(CausalLM& student, const TokenizerData& tokenizer, const ArmsInputs& arms, const TrainInputs& inputs,
       const DistillOptions& options, const Progress& progress)
      : student_(student),
        tokenizer_(tokenizer),
        arms_(arms),
        inputs_(inputs),
        options_(options),
        progress_(progress),
        plan_(plan_of(arms, inputs.seed)) {}

  ArmsOutcome run() {
    std::vector<JudgedArm> judged;
    for (size_t i = 0; i + 1 < plan_.size(); ++i) judged.push_back(other(i));
    ArmsOutcome out;
    out.trained = asked();
    judged.push_back(judge_asked(out.trained));
    fs::remove_all(work_folder(plan_.back()));
    out.results = arms_results(judged, plan_.back().arm, inputs_.seed);
    out.notes = notes();
    return out;
  }

 private:
  std::string file_name(const Planned& one) const { return name_of(one.arm) + "-seed-" + std::to_string(one.seed); }
  std::string work_folder(const Planned& one) const { return arms_.folder + "/" + file_name(one); }
  std::string figures(const Planned& one) const { return work_folder(one) + ".json"; }

  // "arm 2 of 4, scratch-KD": where progress stands.
  std::string place(size_t i) const {
    return "arm " + std::to_string(i + 1) + " of " + std::to_string(plan_.size()) + ", " + name_of(plan_[i].arm) +
           (arms_.seeds > 1 ? ", seed " + std::to_string(plan_[i].seed) : "");
  }

  // Random weights are those that start_student makes of a seed; a student that is random itself begins as it is.
  CausalLM start_of(const Planned& one) const {
    const bool given = one.arm.initialised || (arms_.from_scratch && one.seed == inputs_.seed);
    return given ? student_.clone() : CausalLM::random(student_.config, one.seed + 1);
  }

  // Without adapters or frozen parts where the weights are random: nothing would ever move them; nor have they zeros.
  DistillOptions options_of(const Arm& arm) const {
    DistillOptions options = arm.taught ? options_ : cross_entropy_alone(options_);
    if (!arm.initialised && !arms_.from_scratch)
      options.lora_rank = 0, options.lora_targets.clear(), options.frozen.clear(), options.keep_zeros = false;
    return options;
  }

  TrainInputs inputs_of(const Planned& one, const std::string& stage) const {
    TrainInputs inputs = inputs_;
    inputs.seed = one.seed;
    inputs.stage = stage;
    inputs.checkpoint_directory = work_folder(one);
    inputs.resume = true;
    inputs.on_step = nullptr;
    inputs.let_teacher_go = nullptr;  // the arms behind this one ask it too
    if (!one.arm.initialised) inputs.student_hash = "random";
    if (!one.arm.taught) inputs.teacher = nullptr, inputs.teacher_hash.clear();
    return inputs;
  }

  std::string identity_of(const TrainInputs& inputs, const DistillOptions& options) const {
    Sha256 hash;
    hash.add(fingerprint_of(student_, inputs, options)).add(std::to_string(options.sequence_tokens));
    for (const Document& document : arms_.text) hash.add(document_text(document)).add("\n");
    return hash.add(arms_.chat_template).add(arms_.teacher.content_hash()).hex();
  }

  JudgedArm judge_model(size_t i, const std::string& model, const std::string& identity, int64_t tokens) const {
    const std::string stage = place(i) + ": judged";
    const Progress named = [&](const Event& event) {
      Event shown = event;
      shown.stage = stage;
      return progress_ ? progress_(shown) : Flow::GoOn;
    };
    JudgedArm arm{.arm = plan_[i].arm, .seed = plan_[i].seed, .tokens = tokens};
    judge({arms_.teacher, arms_.text, arms_.chat_template, options_.sequence_tokens, inputs_.threads}, model,
          work_folder(plan_[i]) + "/scored", arm, named);
    keep_figures(figures(plan_[i]), identity, arm);
    const std::string found = in_words(arm);
    report(progress_,
           {.stage = stage, .unit = "tokens", .done = arm.scored_tokens, .total = arm.scored_tokens, .message = found});
    return arm;
  }

  JudgedArm other(size_t i) const {
    const Planned& one = plan_[i];
    const std::string stage = place(i), model = work_folder(one) + "/final";
    const DistillOptions options = options_of(one.arm);
    TrainInputs inputs = inputs_of(one, stage);
    const std::string identity = identity_of(inputs, options);
    if (std::optional<JudgedArm> done = kept_figures(figures(one), identity)) {
      fs::remove_all(work_folder(one));  // of a run that was killed in between
      return *done;
    }
    if (arms_.recorder) inputs.on_step = arms_.recorder(file_name(one));
    CausalLM trained = start_of(one);
    const TrainResult result = train(trained, tokenizer_, inputs, options, progress_);
    write_checkpoint(model, trained, tokenizer_, {}, {}, "{}");
    JudgedArm arm = judge_model(i, model, identity, result.tokens);
    fs::remove_all(work_folder(one));
    return arm;
  }

  TrainResult asked() {
    TrainInputs inputs = inputs_;
    const std::string stage = place(plan_.size() - 1);
    inputs.stage = stage;
    asked_identity_ = identity_of(inputs, options_);
    return train(student_, tokenizer_, inputs, options_, progress_);
  }

  JudgedArm judge_asked(const TrainResult& trained) const {
    const Planned& one = plan_.back();
    if (std::optional<JudgedArm> done = kept_figures(figures(one), asked_identity_)) return *done;
    const std::string model = work_folder(one) + "/final";
    write_checkpoint(model, student_, tokenizer_, {}, {}, "{}");
    return judge_model(plan_.size() - 1, model, asked_identity_, trained.tokens);
  }

  std::vector<std::string> notes() const {
    std::vector<std::string> lines;
    if (arms_.seeds == 1)
      lines.emplace_back(
          "arms: one seed each, so intervals are those of the text alone; arm_seeds: 3 says how far trainings lie "
          "apart");
    if (arms_.from_scratch)
      lines.emplace_back("arms: the student starts from random weights, so the two initialised arms are left out");
    else if (options_.lora_rank > 0 || !options_.frozen.empty())
      lines.emplace_back("arms: all weights of the scratch arms are trained, since what is frozen would stay random");
    if (!arms_.from_scratch && options_.keep_zeros)
      lines.emplace_back("arms: the scratch arms have no zeros to keep: they are dense");
    return lines;
  }

  CausalLM& student_;
  const TokenizerData& tokenizer_;
  const ArmsInputs& arms_;
  const TrainInputs& inputs_;
  const DistillOptions& options_;
  const Progress& progress_;
  std::vector<Planned> plan_;
  std::string asked_identity_;
};

}  // namespace

std::vector<Arm> arms_of(bool from_scratch) {
  const std::vector<Arm> scratch{{false, false}, {false, true}};
  return from_scratch ? scratch : std::vector<Arm>{scratch[0], scratch[1], {true, false}, {true, true}};
}

DistillOptions cross_entropy_alone(DistillOptions options) {
  const std::string own = "cross_entropy";
  options.losses = {{own, 1.0}};
  for (const LossSetting& each : loss_settings())
    if (std::find(each.of.begin(), each.of.end(), own) == each.of.end()) options.loss_settings.erase(each.name);
  const DistillOptions usual;
  options.temperature = usual.temperature, options.signal = usual.signal, options.unsignalled = usual.unsignalled;
  options.on_policy = 0.0, options.curriculum = 0.0;  // they need a teacher's word
  options.features.clear(), options.feature_layers.clear();
  return options;
}

ArmsOutcome train_with_arms(CausalLM& student, const TokenizerData& tokenizer, const ArmsInputs& arms,
                            const TrainInputs& inputs, const DistillOptions& options, const Progress& progress) {
  return Arms(student, tokenizer, arms, inputs, options, progress).run();
}

}  // namespace attar
