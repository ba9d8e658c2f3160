// The step: loss and gradients over a batch, a slice of its documents after the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "distill/features/feature_match.h"
#include "distill/head_loss.h"
#include "distill/labels.h"
#include "distill/pass/model_pass.h"
#include "distill/train.h"
#include "distill/training_batches.h"

namespace attar {

struct BatchGradients {
  double loss = 0;                        // as the losses are weighed, over the batch's tokens
  std::map<std::string, double> parts{};  // mean of each loss over the tokens that it is of
  std::optional<double> agreement{};      // see TrainStep
  NamedTensors of{};                      // of each parameter of the student that is not frozen, in its shape
  bool interrupted = false;               // another rank was asked to stop
};

// How a student learns, the same in all steps. What it is made of outlives it.
class Learner {
 public:
  // `device`: of pass_device(); what the options say of one is not looked at.
  Learner(const CausalLM& student, const TrainInputs& inputs, const DistillOptions& options, SignalSource source,
          const PassDevice& device = {});

  // What the student is given by a batch, in memory that the next call takes again. No bit depends on the number of
  // threads. taid_share: loss_term.h. Of several ranks each calls it, and what rank 0 gets is of the whole batch.
  BatchGradients gradients(const TrainingBatch& batch, double taid_share);

  // Mean loss over the tokens of `data` that are in it; changes nothing.
  double loss_on(const TokenDataset& data);

  // (documents) The teacher's mean cross-entropy over each document's tokens of the loss, 0 where there are none.
  // Documents of at most sequence_tokens; told of as stage "curriculum".
  std::vector<double> teacher_losses(const TokenDataset& data, const Progress& progress);

  // Keeps nothing of the teacher; asked again, it is read again.
  void forget_teacher();

 private:
  struct LossSum {  // of one loss, over the rows that it is of
    double sum = 0;
    int64_t rows = 0;
  };
  struct Sums {
    double loss = 0;  // as the losses are weighed, over the denominator
    int64_t asked = 0, agreeing = 0;
    std::map<std::string, LossSum> of{};
    void add(const HeadLossResult& result);
    void add(const FeatureMatch::Result& result);
  };
  struct Lesson {  // what a batch is learned by
    SignalSource source;
    std::vector<LossTerm> losses;
  };

  at::Tensor learn(const at::Tensor& hidden, const TokenBatch& batch, const Labels& labels, const Lesson& lesson,
                   double denominator, at::Tensor& head_gradient, Sums& sums);
  LayerTaps compare_features(const TokenBatch& batch, const Labels& labels, const Lesson& lesson, double denominator,
                             NamedTensors& gradients, Sums& sums);
  DenseSignal ask_teacher(TokenBatch batch);
  AlignedSignal ask_about_chunks(const at::Tensor& hidden, const Labels& labels, const Lesson& lesson);
  HeadLossOptions head_options(const std::vector<LossTerm>& losses = {}) const;
  void clear_gradients();
  const NamedTensors& gradients_in_host_memory();
  bool add_up(Sums& sums, const NamedTensors& gradients);
  bool frozen(const std::string& tensor) const;

  const TrainInputs& inputs_;
  const DistillOptions& options_;
  std::vector<LossTerm> losses_, losses_of_the_text_;  // these where no teacher is asked
  SignalSource source_;
  PassPlace place_;
  Team team_;
  std::optional<FeatureMatch> features_;  // where some are asked for
  ModelPass student_;
  std::optional<ModelPass> teacher_;      // from the first time that it is asked
  at::Tensor teacher_head_;               // (Vs, Ct) the teacher's rows of the tokens that the student has
  at::Tensor kept_head_;                  // (Vs, Ct) the same for states that are kept with the data
  at::Tensor teacher_ids_;                // (Vs) its id of each student id; undefined: the same
  NamedTensors gradients_;                // where the passes compute; those by projections in host memory
  NamedTensors host_gradients_;           // copies of them, where that is not here
  HeadLossMemory logits_, other_logits_;  // of the student, of a teacher with tokens of its own
};

}  // namespace attar
