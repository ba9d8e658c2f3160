#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::cli {
namespace {

struct TypeSum {
  int64_t tensors = 0, weights = 0;
  uint64_t bytes = 0;
};

std::map<std::string, TypeSum> by_type(const ModelFile& file) {
  std::map<std::string, TypeSum> sums;
  for (const TensorSpec& spec : tensor_specs(file.config())) {
    const StoredTensor& tensor = file.tensor(spec.name);
    TypeSum& sum = sums[format_of(tensor.type).name];
    ++sum.tensors;
    sum.weights += spec.elements();
    sum.bytes += tensor.bytes.size();
  }
  return sums;
}

std::string range(int64_t low, int64_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

template <class Get>
std::string over_layers(const ModelConfig& config, Get&& get) {
  int64_t low = get(config.layers[0]), high = low;
  for (const LayerConfig& layer : config.layers) low = std::min(low, get(layer)), high = std::max(high, get(layer));
  return range(low, high);
}

void print_text(const ModelFile& file) {
  const ModelConfig& config = file.config();
  const auto line = [](const char* label, const std::string& value) {
    std::printf("%-18s %s\n", label, visible(value).c_str());
  };
  line("name", file.provenance().name);
  line("family", traits(config.family).name);
  line("parameters", std::to_string(config.parameter_count()));
  char text[64];
  std::snprintf(text, sizeof text, "%llu (%.2f bits per weight)", static_cast<unsigned long long>(file.size_bytes()),
                file.bits_per_weight());
  line("bytes", text);
  line("layers", std::to_string(config.n_layers()));
  line("width", std::to_string(config.width));
  line("heads", over_layers(config, [](const LayerConfig& l) { return l.n_heads; }) + ", key/value " +
                    over_layers(config, [](const LayerConfig& l) { return l.n_kv_heads; }) + ", of " +
                    over_layers(config, [](const LayerConfig& l) { return l.head_dim; }));
  line("feed-forward", over_layers(config, [](const LayerConfig& l) { return l.ffn_width; }));
  line("context", std::to_string(config.context_length));
  line("head", config.tied_embeddings ? "tied to the embedding" : "its own");
  const TokenizerData& tokenizer = file.tokenizer();
  line("tokenizer", std::string(tokenizer.kind == TokenizerKind::Bpe ? "BPE " + tokenizer.pre : "SPM") + ", " +
                        std::to_string(tokenizer.tokens.size()) + " tokens");
  line("chat template", tokenizer.chat_template.empty() ? "none" : "yes");
  line("licence", file.provenance().license.empty() ? "not said" : file.provenance().license);
  std::printf("\n%-10s %8s %14s %14s\n", "type", "tensors", "weights", "bytes");
  for (const auto& [type, sum] : by_type(file))
    std::printf("%-10s %8lld %14lld %14llu\n", type.c_str(), static_cast<long long>(sum.tensors),
                static_cast<long long>(sum.weights), static_cast<unsigned long long>(sum.bytes));
}

void print_json(const ModelFile& file) {
  const ModelConfig& config = file.config();
  nlohmann::ordered_json layers = nlohmann::ordered_json::array(), types = nlohmann::ordered_json::object();
  for (const LayerConfig& layer : config.layers)
    layers.push_back({{"n_heads", layer.n_heads},
                      {"n_kv_heads", layer.n_kv_heads},
                      {"head_dim", layer.head_dim},
                      {"ffn_width", layer.ffn_width}});
  for (const auto& [type, sum] : by_type(file))
    types[type] = {{"tensors", sum.tensors}, {"weights", sum.weights}, {"bytes", sum.bytes}};
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
                                           {"license", file.provenance().license},
                                           {"chat_template", !file.tokenizer().chat_template.empty()},
                                           {"content_sha256", file.content_hash()},
                                           {"notes", file.notes()},
                                           {"types", types},
                                           {"layers", layers}};
  std::printf("%s\n", document.dump(1, ' ', false, nlohmann::detail::error_handler_t::replace).c_str());
}

}  // namespace

Action add_inspect(CLI::App& command, const GlobalOptions& global) {
  const auto model = std::make_shared<std::string>();
  add_model(command, *model);
  return [model, &global] {
    const ModelFile file = ModelFile::open(*model, global.hub);
    if (global.json)
      print_json(file);
    else
      print_text(file);
    show_notes(file.notes(), global);
    return 0;
  };
}

}  // namespace attar::cli
