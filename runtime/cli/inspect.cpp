#include <cstdio>
#include <memory>

#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/judge/inspect_json.h"

namespace attar::cli {
namespace {

std::string range(int64_t low, int64_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

template <class Get>
std::string over_layers(const ModelConfig& config, Get&& get) {
  int64_t low = get(config.layers[0]), high = low;
  for (const LayerConfig& layer : config.layers) low = std::min(low, get(layer)), high = std::max(high, get(layer));
  return range(low, high);
}

void print_text(const ModelFile& file, bool resident) {
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
  line("keys, values", name_of(config.kv));
  line("head", config.tied_embeddings ? "tied to the embedding" : "its own");
  const TokenizerData& tokenizer = file.tokenizer();
  line("tokenizer", std::string(tokenizer.kind == TokenizerKind::Bpe ? "BPE " + tokenizer.pre : "SPM") + ", " +
                        std::to_string(tokenizer.tokens.size()) + " tokens");
  line("chat template", tokenizer.chat_template.empty() ? "none" : "yes");
  line("licence", file.provenance().license.empty() ? "not said" : file.provenance().license);
  std::printf("\n%-10s %8s %14s %14s%s\n", "type", "tensors", "weights", "bytes", resident ? "      in memory" : "");
  for (const auto& [type, sum] : runtime::by_type(file)) {
    std::printf("%-10s %8lld %14lld %14llu", type.c_str(), static_cast<long long>(sum.tensors),
                static_cast<long long>(sum.weights), static_cast<unsigned long long>(sum.bytes));
    if (resident) std::printf(" %14llu", static_cast<unsigned long long>(sum.resident_bytes));
    std::printf("\n");
  }
}

}  // namespace

Action add_inspect(CLI::App& command, const GlobalOptions& global) {
  const auto model = std::make_shared<std::string>();
  const auto runtime = std::make_shared<bool>(false);
  add_model(command, *model);
  add_switch(command, "--runtime", *runtime, "beside a type's bytes in the file, those in memory once it is loaded");
  return [model, runtime, &global] {
    const ModelFile file = ModelFile::open(*model, global.hub);
    if (global.json)
      std::fputs(runtime::inspect_document(file).c_str(), stdout);
    else
      print_text(file, *runtime);
    show_notes(file.notes(), global);
    return 0;
  };
}

}  // namespace attar::cli
