// What a step learns from inside the teacher: the features that are asked for, at the layers that are compared.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "distill/features/feature_kinds.h"
#include "distill/features/hidden_match.h"
#include "distill/pass/training_pass.h"
#include "distill/train.h"

namespace attar {

class FeatureMatch {
 public:
  // Nothing is compared where no feature has a weight. Error{Usage}: see feature_layers.
  FeatureMatch(const DistillOptions& options, const ModelConfig& student, const ModelConfig& teacher);

  bool empty() const { return hidden_.mse == 0.0 && hidden_.cosine == 0.0 && relation_ == 0.0; }
  TapPlan student_taps() const { return taps(&LayerPair::student); }
  TapPlan teacher_taps() const { return taps(&LayerPair::teacher); }
  // Pairs whose widths differ: their states are compared through a projection, which is trained beside the student.
  std::vector<LayerPair> projected() const;

  struct Tokens {
    const std::vector<int64_t>& lengths;  // of the documents
    at::Tensor counted;                   // (N) bool: tokens that are looked at
    double denominator = 1.0;             // of the whole step
  };
  struct Result {
    double loss = 0.0;                   // weighed, over the denominator
    int64_t rows = 0;                    // tokens that were looked at
    std::map<std::string, double> of{};  // by name of feature: sum over those tokens of the mean over layers
    LayerTaps by_student{};              // gradient of the loss
  };
  // Of the last forward passes of both. `gradients`: those by projections are added, where they have a place.
  Result compare(Team& team, const LayerTaps& student, const LayerTaps& teacher, const Tokens& tokens,
                 at::ScalarType kind, const Reparameterizations& trained, NamedTensors& gradients) const;

 private:
  TapPlan taps(int64_t LayerPair::*side) const;

  HiddenWeights hidden_;
  double relation_;
  int64_t relation_heads_;
  int64_t student_width_, teacher_width_;
  std::vector<LayerPair> pairs_;
};

// Projections lie beside the tensors of the student, under this name and the student's layer, and never in a model.
inline constexpr const char* kProjections = "features";
std::string projection_name(int64_t student_layer);  // of its gradient: "features.3"

// Projections of all pairs that need one, each the one that fits some tokens of the data best before anything is
// learned; no parameters where widths are alike.
Reparameterization fitted_projections(const CausalLM& student, const TrainInputs& inputs,
                                      const DistillOptions& options);

}  // namespace attar
