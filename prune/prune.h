// Structured pruning: layers, feed-forward channels, attention heads by KV group, vocabulary. Channels and groups go by
// optimal brain surgeon, one after another; what is left is fitted to the whole model's output; and the sliced model
// equals the masked one to 1e-5.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"
#include "runtime/base/fields.h"
#include "runtime/base/progress.h"

namespace attar {

struct PruneOptions {
  int64_t drop_layers = 0;
  std::string layer_choice = "influence";
  std::optional<std::vector<int64_t>> keep_layers{};
  double drop_ffn = 0.0;
  double drop_heads = 0.0;
  int64_t keep_vocab = 0;
  int64_t round_channels = 64;
  bool refit = true;
  double damping = 0.003;
  int64_t calibration_tokens = 8192;
};
template <class Visitor>
void visit_fields(PruneOptions& o, Visitor&& field) {
  field(o.drop_layers, "drop_layers",
        "number of layers to remove, those that change the hidden state least unless layer_choice says otherwise");
  field(o.layer_choice, "layer_choice",
        "which layers drop_layers leaves: influence, all but those that change the hidden state least on the "
        "calibration data; uniform, evenly spaced ones, the first and the last among them, whatever they do");
  field(o.keep_layers, "keep_layers",
        "the layers that stay, by their numbers from 0 on, ascending, in place of drop_layers; no text is asked");
  field(o.drop_ffn, "drop_ffn", "share of the feed-forward channels to remove from every layer, 0 <= x < 1");
  field(o.drop_heads, "drop_heads",
        "share of the KV groups to remove from every layer, each with its query heads, 0 <= x < 1; rounded to the "
        "nearest count, one group stays");
  field(o.keep_vocab, "keep_vocab", "number of tokens to keep in the vocabulary; 0 keeps all");
  field(o.round_channels, "round_channels", "feed-forward widths are multiples of this");
  field(o.refit, "refit", "fit what is left of each output projection to the whole model's output by least squares");
  field(o.damping, "damping", "share of itself added to each entry of the diagonal of X^T X before it is inverted");
  field(o.calibration_tokens, "calibration_tokens", "tokens of the calibration data to use");
}
inline constexpr RenamedField kPruneRenamed[] = {
    {"layers", "drop_layers"}, {"ffn", "drop_ffn"}, {"heads", "drop_heads"}, {"vocab", "keep_vocab"}};
inline std::span<const RenamedField> renamed_fields(const PruneOptions&) {
  return kPruneRenamed;
}

struct LayerCut {
  int64_t layer;  // in the model before pruning
  std::vector<int64_t> kept_channels;
  std::vector<int64_t> kept_kv_groups;
  double relative_error = 0;  // the larger of attention's and the feed-forward's: squared difference to the whole
                              // model's output after the refit, over its square, on the calibration data
};
struct PruneResult {
  std::vector<int64_t> removed_layers;
  std::vector<int64_t> kept_layers;  // ascending, by their numbers before; empty where none was asked to go
  std::vector<LayerCut> cuts;
  std::vector<int32_t> kept_tokens;  // old id of each new id; empty: vocabulary unchanged
  std::vector<std::string> notes;    // fallbacks and adjustments, for the report
  int64_t parameters_before = 0, parameters_after = 0;
};

// The student's shape as far as options alone tell; which layers go by influence, the data decides. Error{Usage} with
// the key for what cannot be done: more layers than depth pruning may take (the first two and the last stay, or of
// evenly spaced ones the first and the last; gemma3 loses whole patterns), a list that names a layer that is not there.
ModelConfig pruned_shape(const ModelConfig& config, const PruneOptions& options);

// Whether the calibration text has a say in what goes: not where a list or even spacing alone chooses layers.
bool asks_the_text(const PruneOptions& options);

// Changes model and tokenizer. `calibration`: activations are measured on its first calibration_tokens tokens, tokens
// are counted in all of it; empty where asks_the_text says no. The result does not depend on `threads`. Error{Usage}
// with the key for what cannot be done (a layer that does not exist, ratio 1). `steps`: a folder that keeps what was
// chosen so far (kept_cuts.h), for a pruning that is broken off; "": none.
PruneResult prune(CausalLM& model, TokenizerData& tokenizer, const TokenDataset& calibration,
                  const PruneOptions& options, int threads, const Progress& progress = {},
                  const std::string& steps = {});

}  // namespace attar
