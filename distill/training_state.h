// Where a training stands, and its checkpoints: DIR/step-N holds model, moments and position, the weights' average, and
// the parameters of what is reparameterized: all that the next step needs. DIR/best holds the best weights so far.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/reparameterization.h"
#include "distill/labels.h"
#include "distill/losses/taid.h"
#include "distill/optimizer/adamw.h"
#include "distill/rollouts.h"
#include "distill/train.h"
#include "distill/training_batches.h"
#include "runtime/base/host/background_work.h"

namespace attar {

struct TrainingState {
  int64_t step = 0;
  BatchPosition at;
  LossTokens seen;  // learned from so far
  RolloutState rollouts;
  TaidState taid;
  AdamWState optimizer;  // `first` holds Muon's momenta too
  NamedTensors average;  // of what is trained; empty without one
  std::vector<TrainStep> history;
};

// The look at what is held out with the lowest loss, and how many looks were in vain since.
struct BestLook {
  int64_t step = 0;  // after which it was
  double loss = 0;
  int64_t in_vain = 0;
};
std::optional<BestLook> best_look(const std::vector<TrainStep>& history);

// Of all that decides the weights: options, seed, the teacher, the student, every token and signal. Error{Resources}:
// the options ask for a device that is not here.
std::string fingerprint_of(const CausalLM& student, const TrainInputs& inputs, DistillOptions options);

class TrainingCheckpoints {
 public:
  // An empty directory: nothing is kept. What a killed process left
  // half written is swept.
  TrainingCheckpoints(std::string directory, std::string fingerprint);

  // Begins to write, on a thread of its own; waits for the one before first. No tensor may change before
  // wait_until_read(). Each of these, save_best() and written() throw what a write has met, the next time that they are
  // called. The best weights so far, where they are on their way, are on the disk before this is.
  void save(const CausalLM& student, const Reparameterizations& reparameterized, const TokenizerData& tokenizer,
            const TrainingState& state);
  void wait_until_read();
  void wait();
  // Once for each checkpoint that has been written: its step, and the seconds that took.
  struct Written {
    int64_t step = 0;
    double seconds = 0;
  };
  std::optional<Written> written();

  // The newest whole checkpoint, if there is one. Error{Usage}: it is of other options, data, models or device.
  // Error{Input}: it is damaged.
  void restore(CausalLM& student, Reparameterizations& reparameterized, const DistillOptions& options,
               TrainingState& state) const;
  // Those from this step on go, as their weights have never given a finite loss. -> the newest that is left
  std::optional<int64_t> drop_from(int64_t step);

  // As save() does, in place of the best before, which stays until these are whole. `step`: the one after which they
  // are so good.
  void save_best(const CausalLM& student, const Reparameterizations& reparameterized, const TokenizerData& tokenizer,
                 int64_t step);
  // Error{Input}: they are damaged, or of another training or step.
  void restore_best(CausalLM& student, Reparameterizations& reparameterized, int64_t step) const;
  // Error{Usage} when there are checkpoints, which a training from the start would overwrite.
  void require_none() const;

 private:
  std::vector<int64_t> saved_steps() const;  // ascending
  std::string step_folder(int64_t step) const { return directory_ + "/step-" + std::to_string(step); }
  std::string best_folder() const { return directory_ + "/best"; }
  std::string best_state(int64_t step) const;

  std::string directory_, fingerprint_;
  Written last_;  // by `writing_`, which reads it when it is done
  // Each: nullptr where nothing is on its way, or has been told of.
  std::shared_ptr<BackgroundWork> best_;  // `writing_` waits for it too
  std::unique_ptr<BackgroundWork> writing_;
};

}  // namespace attar
