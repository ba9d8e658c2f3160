#include "quantize/block_learning.h"

#include <algorithm>
#include <map>
#include <utility>

#include "quantize/quantize.h"

namespace attar {

CausalLM layer_alone(const CausalLM& model, int64_t layer) {
  CausalLM alone{model.config, {}};
  alone.config.layers.assign(1, model.config.layers[static_cast<size_t>(layer)]);
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) alone.parameters[tensor_name(0, spec.role)] = model.parameter(spec.name);
  return alone;
}

std::optional<BlockLoss> learn_layer(const BlockLearner& learn, const BlockLesson& lesson, int64_t layer,
                                     const std::vector<std::string>& names, QuantizedModel& model) {
  QuantizedModel alone{lesson.original.config, {}, {}};
  std::map<std::string, std::string> names_alone;  // by the model's own
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer && std::find(names.begin(), names.end(), spec.name) != names.end())
      names_alone[spec.name] = tensor_name(0, spec.role);
  for (const auto& [name, own] : names_alone) alone.tensors[own] = std::move(model.tensors.at(name));
  const std::optional<BlockLoss> loss = learn(lesson, alone);
  for (const auto& [name, own] : names_alone) model.tensors.at(name) = std::move(alone.tensors.at(own));
  return loss;
}

}  // namespace attar
