#include "compress/reparameterization.h"

#include <cassert>

namespace attar {
namespace {

std::string full_name(const std::string& tensor, const std::string& parameter) {
  return tensor + "." + parameter;
}

}  // namespace

NamedTensors trained_tensors(const CausalLM& model, const Reparameterizations& reparameterizations) {
  NamedTensors trained;
  for (const auto& [name, tensor] : model.parameters)
    if (!reparameterizations.contains(name)) trained[name] = tensor;
  for (const auto& [name, reparameterization] : reparameterizations)
    for (const auto& [parameter, values] : reparameterization.parameters) trained[full_name(name, parameter)] = values;
  return trained;
}

std::map<std::string, double> learning_rate_ratios(const Reparameterizations& reparameterizations) {
  std::map<std::string, double> ratios;
  for (const auto& [name, reparameterization] : reparameterizations)
    for (const auto& [parameter, ratio] : reparameterization.learning_rate_ratios)
      ratios[full_name(name, parameter)] = ratio;
  return ratios;
}

void make_effective(const Reparameterizations& reparameterizations, CausalLM& model, int threads) {
  for (const auto& [name, reparameterization] : reparameterizations)
    if (reparameterization.effective)
      reparameterization.effective(reparameterization.parameters, model.parameters.at(name), threads);
}

void pull_back(const Reparameterizations& reparameterizations, NamedTensors& gradients, int threads) {
  for (const auto& [name, reparameterization] : reparameterizations) {
    if (!reparameterization.pull_back) continue;
    auto by_weights = gradients.extract(name);
    assert(!by_weights.empty());
    const NamedTensors pulled =
        reparameterization.pull_back(reparameterization.parameters, by_weights.mapped(), threads);
    for (const auto& [parameter, gradient] : pulled) gradients[full_name(name, parameter)] = gradient;
  }
}

}  // namespace attar
