#include "prune/kept_cuts.h"

#include <nlohmann/json.hpp>

#include "compress/kept/text_hash.h"
#include "compress/weight_source.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

using Json = nlohmann::json;

constexpr const char* kRemoved = "removed";

Identity identity_of(const CausalLM& model, const std::vector<TokenBatch>& text, const PruneOptions& options) {
  Identity identity = program_identity();
  identity.insert(identity.end(), {{"model", WeightSource(model).content_hash()}, {"text", text_hash(text)}});
  PruneOptions given = options;
  visit_fields(given, [&](const auto& value, const std::string& name, const char*) {
    if constexpr (requires { value.has_value(); })
      identity.emplace_back(name, value ? Json(*value).dump() : "none");
    else
      identity.emplace_back(name, Json(value).dump());
  });
  return identity;
}

std::string part_of(int64_t layer) {
  return "layer-" + std::to_string(layer);
}

}  // namespace

KeptCuts::KeptCuts(const std::string& folder, const CausalLM& model, const std::vector<TokenBatch>& text,
                   const PruneOptions& options)
    : parts_(folder, kCutsKind, folder.empty() ? Identity{} : identity_of(model, text, options)) {}

std::vector<int64_t> KeptCuts::removed_layers() const {
  if (!parts_.has(kRemoved)) return {};
  return number_list(parts_.read(kRemoved).json, 0, parts_.path(kRemoved));
}

void KeptCuts::keep_removed(const std::vector<int64_t>& layers) const {
  parts_.write(kRemoved, Json(layers).dump());
}

bool KeptCuts::has(int64_t layer) const {
  return parts_.has(part_of(layer));
}

void KeptCuts::take(int64_t layer, CausalLM& model, LayerCut& cut) const {
  const std::string from = parts_.path(part_of(layer));
  const KeptFile file = parts_.read(part_of(layer));
  LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
  try {
    const Json json = Json::parse(file.json);
    config.n_heads = json.at("heads"), config.n_kv_heads = json.at("kv_heads"), config.ffn_width = json.at("ffn");
    cut.kept_channels = json.at("kept_channels").get<std::vector<int64_t>>();
    cut.kept_kv_groups = json.at("kept_kv_groups").get<std::vector<int64_t>>();
    cut.relative_error = json.at("relative_error");
  } catch (const Json::exception&) {
    throw damaged_kept(from, "its values");
  }
  for (const auto& [name, tensor] : tensors_of(file, from)) model.parameters.at(name) = tensor;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer && model.parameter(spec.name).sizes().vec() != spec.shape)
      throw damaged_kept(from, "tensor " + spec.name);
}

void KeptCuts::keep(int64_t layer, const CausalLM& model, const LayerCut& cut) const {
  if (parts_.folder().empty()) return;
  const LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
  const Json json = {{"heads", config.n_heads},
                     {"kv_heads", config.n_kv_heads},
                     {"ffn", config.ffn_width},
                     {"kept_channels", cut.kept_channels},
                     {"kept_kv_groups", cut.kept_kv_groups},
                     {"relative_error", cut.relative_error}};
  std::map<std::string, at::Tensor> tensors;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) tensors[spec.name] = model.parameter(spec.name);
  parts_.write(part_of(layer), json.dump(), tensors);
}

}  // namespace attar
