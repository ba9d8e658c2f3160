#include "recipes/run/stage_records.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace attar {

std::string layer_cuts_json(const std::vector<LayerCut>& cuts) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerCut& cut : cuts)
    layers.push_back({{"layer", cut.layer},
                      {"channels", cut.kept_channels.size()},
                      {"kv_groups", cut.kept_kv_groups.size()},
                      {"relative_error", cut.relative_error}});
  return layers.dump();
}

std::string quantize_record(const QuantizedModel& model) {
  nlohmann::ordered_json bits = nlohmann::ordered_json::object(), types = nlohmann::ordered_json::object(),
                         tensors = nlohmann::ordered_json::array();
  std::map<std::string, std::pair<int64_t, int64_t>> by_type;  // tensors, bytes
  std::map<std::string, std::string> fallbacks;                // by tensor
  for (const Fallback& one : model.plan.fallbacks)
    fallbacks[one.tensor] = std::string(format_of(one.wanted).name) + " does not fit: " + one.reason;
  double elements = 0.0;
  for (const PlannedTensor& planned : model.plan.tensors) {
    const QuantizedTensor& tensor = model.tensors.at(planned.spec.name);
    const QuantFormat& format = format_of(tensor.type);
    const auto bytes = static_cast<int64_t>(tensor.bytes.size());
    auto& [count, sum] = by_type[format.name];
    ++count, sum += bytes;
    elements += static_cast<double>(planned.spec.elements());
    if (!planned.spec.is_matrix()) continue;
    bits[role_name(planned.spec.role)].push_back(format.bits_per_weight());
    const auto fallback = fallbacks.find(planned.spec.name);
    tensors.push_back({{"name", planned.spec.name},
                       {"role", role_name(planned.spec.role)},
                       {"layer", planned.spec.layer},
                       {"type", format.name},
                       {"bytes", bytes},
                       {"relative_error", tensor.relative_error},
                       {"reason", fallback == fallbacks.end() ? model.plan.name : fallback->second}});
  }
  for (const auto& [type, entry] : by_type) types[type] = {{"tensors", entry.first}, {"bytes", entry.second}};
  const auto tensor_bytes = model.plan.tensor_bytes();
  nlohmann::ordered_json out = {{"plan", model.plan.name}, {"kv_format", name_of(model.config.kv)}};
  if (model.plan.predicted_kl) out["predicted_kl"] = *model.plan.predicted_kl;
  if (model.calibration_tokens > 0) out["calibration_tokens"] = model.calibration_tokens;
  for (const auto& [layer, loss] : model.blocks)
    out["blocks"].push_back({{"layer", layer}, {"error_before", loss.before}, {"error_after", loss.after}});
  out["bits_per_weight"] = 8.0 * static_cast<double>(tensor_bytes + model.plan.target.fixed_bytes) / elements;
  out["bits"] = bits;
  out["types"] = types;
  out["tensor_bytes"] = tensor_bytes;
  out["tensors"] = tensors;
  return out.dump();
}

}  // namespace attar
