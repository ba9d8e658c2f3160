// What a pruning has chosen, on disk as it goes: which layers went, then each layer as its cuts left it. A pruning that
// is broken off goes on behind the last, to the same bytes.
#pragma once

#include <string>
#include <vector>

#include "compress/kept/kept_parts.h"
#include "prune/prune.h"

namespace attar {

inline constexpr const char* kCutsKind = "cuts";

class KeptCuts {
 public:
  // Of this model, text and options; errors and an empty folder as KeptParts has them.
  KeptCuts(const std::string& folder, const CausalLM& model, const std::vector<TokenBatch>& text,
           const PruneOptions& options);

  // Layers in the order in which they went, by their places in the whole model.
  std::vector<int64_t> removed_layers() const;
  void keep_removed(const std::vector<int64_t>& layers) const;

  // A layer of the model without those; whether its cuts are there, and the layer with what was said of it.
  bool has(int64_t layer) const;
  void take(int64_t layer, CausalLM& model, LayerCut& cut) const;
  void keep(int64_t layer, const CausalLM& model, const LayerCut& cut) const;

 private:
  KeptParts parts_;
};

}  // namespace attar
