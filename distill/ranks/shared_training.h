// A training of several ranks. Rank 0 has all of its state: data, parameters, moments, checkpoints. At each step it
// tells the others the weights and the documents; each rank takes the gradient of its share of them (Learner), and rank
// 0 gets the sum. The others hold both models and a gradient, and nothing from step to step.
#pragma once

#include <vector>

#include "compress/causal_lm.h"
#include "distill/labels.h"
#include "distill/learner.h"
#include "distill/ranks/ranks.h"
#include "distill/train.h"
#include "distill/training_batches.h"

namespace attar {

// At rank 0, while one training lasts.
class SharedTraining {
 public:
  // The others get the models. Needs inputs.ranks; all of it outlives this.
  SharedTraining(const CausalLM& student, const TrainInputs& inputs, const DistillOptions& options,
                 SignalSource source);
  ~SharedTraining();  // the others wait for the next one
  SharedTraining(const SharedTraining&) = delete;
  SharedTraining& operator=(const SharedTraining&) = delete;

  // Learner::gradients of all ranks.
  BatchGradients gradients(Learner& learner, const TrainingBatch& batch, double taid_share);

 private:
  SharedTraining(const CausalLM& student, const TrainInputs& inputs) : student_(student), inputs_(inputs) {}

  const CausalLM& student_;
  const TrainInputs& inputs_;
  bool between_calls_ = false;  // the others listen
};

// At the other ranks: takes part in every training, until rank 0 dismisses them. Error{Failure}: it has ended without.
void serve_trainings(Ranks& ranks);

// At rank 0, when no training will come any more. Silent where a rank is lost.
void dismiss(Ranks& ranks);

}  // namespace attar
