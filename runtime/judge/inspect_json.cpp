#include "runtime/judge/inspect_json.h"

#include <nlohmann/json.hpp>

#include "runtime/kernels/pack.h"

namespace attar::runtime {

std::map<std::string, TypeSum> by_type(const ModelFile& file) {
  std::map<std::string, TypeSum> sums;
  for (const TensorSpec& spec : tensor_specs(file.config())) {
    const StoredTensor& tensor = file.tensor(spec.name);
    TypeSum& sum = sums[format_of(tensor.type).name];
    ++sum.tensors;
    sum.weights += spec.elements();
    sum.bytes += tensor.bytes.size();
    const auto& shape = tensor.shape;
    const int64_t resident = shape.size() == 2 ? packed_bytes(tensor.type, shape[0], shape[1], Numerics::Deployed)
                                               : spec.elements() * static_cast<int64_t>(sizeof(float));
    sum.resident_bytes += static_cast<uint64_t>(resident);
  }
  return sums;
}

std::string inspect_document(const ModelFile& file) {
  const ModelConfig& config = file.config();
  nlohmann::ordered_json layers = nlohmann::ordered_json::array(), types = nlohmann::ordered_json::object();
  for (const LayerConfig& layer : config.layers)
    layers.push_back({{"n_heads", layer.n_heads},
                      {"n_kv_heads", layer.n_kv_heads},
                      {"head_dim", layer.head_dim},
                      {"ffn_width", layer.ffn_width}});
  for (const auto& [type, sum] : by_type(file))
    types[type] = {{"tensors", sum.tensors},
                   {"weights", sum.weights},
                   {"bytes", sum.bytes},
                   {"resident_bytes", sum.resident_bytes}};
  const nlohmann::ordered_json document = {{"schema_version", 1},
                                           {"name", file.provenance().name},
                                           {"family", traits(config.family).name},
                                           {"parameters", config.parameter_count()},
                                           {"bytes", file.size_bytes()},
                                           {"bits_per_weight", file.bits_per_weight()},
                                           {"width", config.width},
                                           {"vocabulary", config.vocab_size},
                                           {"context", config.context_length},
                                           {"tied_embeddings", config.tied_embeddings},
                                           {"kv_format", name_of(config.kv)},
                                           {"license", file.provenance().license},
                                           {"chat_template", !file.tokenizer().chat_template.empty()},
                                           {"content_sha256", file.content_hash()},
                                           {"notes", file.notes()},
                                           {"types", types},
                                           {"layers", layers}};
  return document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace) + "\n";
}

}  // namespace attar::runtime
