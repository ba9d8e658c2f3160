// What a pruning has chosen, on disk as it goes: which layers went, then each layer as its cuts left it. A pruning that
// is broken off goes on behind the last, to the same bytes.
#pragma once

#include <string>
#include <vector>

#include "compress/kept/kept_file.h"
#include "prune/prune.h"

namespace attar {

class KeptCuts {
 public:
  // An empty folder: nothing is kept. What was left half written there is swept, and all else is checked before time is
  // spent. Error{Usage}, saying what differs: cuts of another model, text or options. Error{Input}: they are damaged or
  // of another version.
  KeptCuts(std::string folder, const CausalLM& model, const std::vector<TokenBatch>& text, const PruneOptions& options);

  // Layers in the order in which they went, by their places in the whole model.
  std::vector<int64_t> removed_layers() const;
  void keep_removed(const std::vector<int64_t>& layers) const;

  // A layer of the model without those; whether its cuts are there, and the layer with what was said of it.
  bool has(int64_t layer) const;
  void take(int64_t layer, CausalLM& model, LayerCut& cut) const;
  void keep(int64_t layer, const CausalLM& model, const LayerCut& cut) const;

 private:
  std::string path(const std::string& part) const;
  KeptFile checked(const std::string& path) const;

  std::string folder_;
  Identity identity_;
};

// Removes what was kept, once the pruned model is written.
void remove_cuts(const std::string& folder);
// Whether there are any, to go on from.
bool has_cuts(const std::string& folder);

}  // namespace attar
