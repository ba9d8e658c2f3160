#include "distill/features/feature_match.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include "distill/features/relation_match.h"

namespace attar {
namespace {

double weight_of(const DistillOptions& options, const char* feature) {
  const auto found = options.features.find(feature);
  return found == options.features.end() ? 0.0 : found->second;
}

// The first documents of the training, at least one.
std::vector<Piece> first_pieces(const TokenDataset& data, const DistillOptions& options, uint64_t seed) {
  std::vector<Piece> first;
  int64_t held = 0;
  for (const std::vector<Piece>& batch : pack(data, options.sequence_tokens, options.batch_tokens, seed, 0))
    for (const Piece& piece : batch) {
      if (!first.empty() && held + piece.length > kSliceTokens) return first;
      first.push_back(piece);
      held += piece.length;
    }
  return first;
}

LayerTaps taps_of(const CausalLM& model, const TokenBatch& batch, const TapPlan& plan, Team& team) {
  const PassWeights weights(model, Precision::Fp32, team);
  TrainingPass pass(weights, team, Keeps::Nothing, plan);
  pass.forward(batch);
  return pass.taps();
}

}  // namespace

FeatureMatch::FeatureMatch(const DistillOptions& options, const ModelConfig& student, const ModelConfig& teacher)
    : hidden_{weight_of(options, "hidden_mse"), weight_of(options, "hidden_cosine")},
      relation_(weight_of(options, "attention_relation")),
      relation_heads_(1),
      student_width_(student.width),
      teacher_width_(teacher.width),
      pairs_(feature_layers(options.feature_layers, student.n_layers(), teacher.n_layers())) {
  const auto layer = [](const ModelConfig& of, int64_t i) { return of.layers[static_cast<size_t>(i)]; };
  relation_heads_ = relation_heads(layer(student, pairs_.back().student), layer(teacher, pairs_.back().teacher));
}

TapPlan FeatureMatch::taps(int64_t LayerPair::*side) const {
  TapPlan plan;
  if (hidden_.mse > 0.0 || hidden_.cosine > 0.0)
    for (const LayerPair& pair : pairs_) plan.hidden.insert(pair.*side);
  if (relation_ > 0.0) plan.heads.insert(pairs_.back().*side);
  return plan;
}

std::vector<LayerPair> FeatureMatch::projected() const {
  const bool compares_states = hidden_.mse > 0.0 || hidden_.cosine > 0.0;
  return compares_states && student_width_ != teacher_width_ ? pairs_ : std::vector<LayerPair>{};
}

FeatureMatch::Result FeatureMatch::compare(Team& team, const LayerTaps& student, const LayerTaps& teacher,
                                           const Tokens& tokens, at::ScalarType kind,
                                           const Reparameterizations& trained, NamedTensors& gradients) const {
  Result out{.rows = tokens.counted.sum().item<int64_t>()};
  const auto n_pairs = static_cast<double>(pairs_.size());
  const double share = 1.0 / tokens.denominator;
  const HiddenWeights weights{hidden_.mse * share / n_pairs, hidden_.cosine * share / n_pairs};
  for (const LayerPair& pair : pairs_) {
    if (weights.mse == 0.0 && weights.cosine == 0.0) break;
    HiddenPair states{student.at(pair.student).hidden, teacher.at(pair.teacher).hidden, {}, tokens.counted};
    at::Tensor by_projection;
    if (student_width_ != teacher_width_) {
      states.projection = trained.at(kProjections).parameters.at(std::to_string(pair.student));
      if (const auto found = gradients.find(projection_name(pair.student)); found != gradients.end())
        by_projection = found->second;
    }
    const HiddenMatch match = match_hidden(team, states, weights, kind, by_projection);
    if (weights.mse > 0.0) out.of["hidden_mse"] += match.mse / n_pairs;
    if (weights.cosine > 0.0) out.of["hidden_cosine"] += match.cosine / n_pairs;
    out.loss += weights.mse * match.mse + weights.cosine * match.cosine;
    out.by_student[pair.student].hidden = match.by_student;
  }
  if (relation_ > 0.0) {
    const auto [mine, its] = pairs_.back();
    const RelationMatch match = match_relations(
        team, {student.at(mine).heads, teacher.at(its).heads, tokens.lengths, tokens.counted, relation_heads_},
        relation_ * share);
    out.of["attention_relation"] = match.sum;
    out.loss += relation_ * share * match.sum;
    out.by_student[mine].heads = match.by_student;
  }
  return out;
}

std::string projection_name(int64_t student_layer) {
  return std::string(kProjections) + "." + std::to_string(student_layer);
}

Reparameterization fitted_projections(const CausalLM& student, const TrainInputs& inputs,
                                      const DistillOptions& options) {
  const c10::NoGradGuard no_grad;
  const CausalLM& teacher = *inputs.teacher;
  const FeatureMatch features(options, student.config, teacher.config);
  Reparameterization projections;
  if (features.projected().empty()) return projections;
  Team team(inputs.threads);
  TokenBatch batch = to_batch(*inputs.data, first_pieces(*inputs.data, options, inputs.seed));
  const LayerTaps mine = taps_of(student, batch, features.student_taps(), team);
  if (!inputs.student_to_teacher.empty()) {
    const std::vector<int64_t> ids(inputs.student_to_teacher.begin(), inputs.student_to_teacher.end());
    batch.tokens = at::tensor(ids, at::kLong).index_select(0, batch.tokens);
  }
  const LayerTaps its = taps_of(teacher, batch, features.teacher_taps(), team);
  for (const LayerPair& pair : features.projected())
    projections.parameters[std::to_string(pair.student)] =
        fit_projection(mine.at(pair.student).hidden, its.at(pair.teacher).hidden);
  return projections;
}

}  // namespace attar
