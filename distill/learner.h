// The step: loss and gradients over a batch, which is cut into parts that each run with one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "distill/head_loss.h"
#include "distill/labels.h"
#include "distill/train.h"
#include "distill/training_batches.h"

namespace attar {

struct BatchGradients {
  double loss = 0;                        // as the losses are weighed, over the batch's tokens
  std::map<std::string, double> parts{};  // mean of each loss over the tokens that it is of
  NamedTensors of{};                      // of each parameter of the student that is not frozen, in its shape
};

// How a student learns, the same in all steps. Inputs and options outlive it.
class Learner {
 public:
  Learner(const TrainInputs& inputs, const DistillOptions& options, SignalSource source);

  // The parts' gradients are added in a fixed order: no bit depends on the number of threads.
  BatchGradients gradients(const CausalLM& student, const TrainingBatch& batch) const;

  // Mean loss over the tokens of `data` that are in it; changes nothing.
  double loss_on(const CausalLM& student, const TokenDataset& data) const;

 private:
  struct Part;  // of a batch: what one thread makes of it
  Part run_part(const CausalLM& student, const TrainingBatch& batch, const std::vector<Piece>& pieces) const;
  at::Tensor learn(const at::Tensor& hidden, const at::Tensor& head, const TokenBatch& batch, const Labels& labels,
                   double denominator, Part& part) const;
  DenseSignal ask_teacher(TokenBatch batch) const;
  at::Tensor hidden_states(const CausalLM& model, const TokenBatch& batch) const;
  NamedTensors added(std::vector<Part>& parts) const;
  bool frozen(const std::string& tensor) const;

  const TrainInputs& inputs_;
  const DistillOptions& options_;
  SignalSource source_;
  Precision precision_;
  at::Tensor teacher_head_;  // (Vs, Ct) the teacher's rows of the tokens that the student has
  at::Tensor teacher_ids_;   // (Vs) its id of each student id; undefined: the same
};

}  // namespace attar
