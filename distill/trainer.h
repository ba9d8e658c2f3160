// The loop: a batch from the data source, its gradients, a change of the weights, a look at what is held out, a
// checkpoint when it is time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "compress/causal_lm.h"
#include "compress/reparameterization.h"
#include "distill/curriculum.h"
#include "distill/labels.h"
#include "distill/learner.h"
#include "distill/optimizer/weight_average.h"
#include "distill/ranks/shared_training.h"
#include "distill/rollouts.h"
#include "distill/train.h"
#include "distill/training_batches.h"
#include "distill/training_state.h"
#include "runtime/base/error.h"

namespace attar {

// One training, of options and inputs that train() has made whole. All of them outlive it.
class Trainer {
 public:
  Trainer(CausalLM& student, const TokenizerData& tokenizer, TrainInputs& inputs, const DistillOptions& options,
          const Progress& progress);

  TrainResult run();

 private:
  void begin();
  TrainResult end();
  Curriculum curriculum_of_the_teacher();
  // Whether a step may ask the teacher.
  bool asked_in_steps() const;
  void let_teacher_go();
  // A stop while the student writes leaves a checkpoint as one between two steps does.
  TrainingBatch next_of(Rollouts& rollouts);

  bool out_of_patience() const {
    if (options_.patience == 0) return false;
    const auto best = best_look(state_.history);
    return best && best->in_vain >= options_.patience;
  }
  bool finished() const { return state_.seen.count >= options_.tokens || out_of_patience(); }

  // What was learned of the data, without what the student wrote.
  LossTokens kept_text() const;
  std::optional<SignalGaps> gaps_of(const LossTokens& tokens) const {
    if (source_ != SignalSource::Cached) return std::nullopt;
    return SignalGaps{tokens.unsignalled_share(), tokens.mean_dropped_mass()};
  }

  void step(const TrainingBatch& drawn);
  // Whether the step is taken; ends a training whose loss stays what no weights can be learned by.
  void judge(TrainStep& done);
  // Clips, and moves what is trained.
  void update(const NamedTensors& gradients, const TrainStep& done);
  // The average, where there is one, is what is judged and kept.
  void look(TrainStep& done);
  void take_turns_with_average() {
    exchange(trained_, state_.average, inputs_.threads);
    make_effective(reparameterized(), student_, inputs_.threads);
  }

  void save() { checkpoints_.save(student_, reparameterized(), tokenizer_, state_); }
  // What the log says of a checkpoint that has been written since it was last asked.
  std::string written();
  // What people should know of a step beside its numbers.
  std::string remark_of(const TrainStep& done) const;
  // Reports, and writes a checkpoint when it is time or the caller stops; none of weights that gave no finite loss.
  void tell(const TrainStep& done, double tokens_per_s);
  // When the last checkpoint is on the disk.
  Error interrupted();

  Reparameterizations& reparameterized() {
    return inputs_.reparameterized != nullptr ? *inputs_.reparameterized : none_;
  }

  CausalLM& student_;
  const TokenizerData& tokenizer_;
  TrainInputs& inputs_;  // the learner's too
  const DistillOptions& options_;
  const Progress& progress_;
  const SignalSource source_;
  SignalsOfBatch signals_;
  Learner learner_;
  TrainingCheckpoints checkpoints_;
  TrainingState state_;
  std::optional<SharedTraining> shared_;  // with other ranks, where there are some
  bool asked_to_stop_ = false;            // one of them was
  Reparameterizations none_;
  NamedTensors trained_;             // what is moved: shares memory with the student and what is reparameterized
  NamedTensors by_muon_, by_adamw_;  // of that
  std::map<std::string, int64_t> head_rows_;  // of Muon's
  std::map<std::string, double> learning_rate_ratios_;
};

}  // namespace attar
