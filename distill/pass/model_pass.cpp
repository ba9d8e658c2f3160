#include "distill/pass/model_pass.h"

#include <utility>

namespace attar {

ModelPass::ByHand::ByHand(const CausalLM& model, Precision precision, Team& team, Keeps keeps, TapPlan plan)
    : weights(model, precision, team), pass(weights, team, keeps, std::move(plan)) {}

ModelPass::ModelPass(const CausalLM& model, const PassPlace& place, Team& team, Keeps keeps, TapPlan plan)
    : model_(model), team_(team) {
  if (place.device)
    by_libtorch_.emplace(model, place.precision, *place.device, keeps, std::move(plan));
  else
    by_hand_.emplace(model, place.precision, team, keeps, std::move(plan));
}

void ModelPass::refresh() {
  by_libtorch_ ? by_libtorch_->refresh() : by_hand_->weights.refresh(team_);
}

at::Tensor ModelPass::head() const {
  return by_libtorch_ ? by_libtorch_->head() : by_hand_->weights.head();
}

at::Tensor ModelPass::forward(const TokenBatch& batch) {
  return by_libtorch_ ? by_libtorch_->forward(batch) : by_hand_->pass.forward(batch);
}

const LayerTaps& ModelPass::taps() const {
  return by_libtorch_ ? by_libtorch_->taps() : by_hand_->pass.taps();
}

void ModelPass::backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps) {
  by_libtorch_ ? by_libtorch_->backward(by_hidden, gradients, by_taps)
               : by_hand_->pass.backward(by_hidden, gradients, by_taps);
}

}  // namespace attar
