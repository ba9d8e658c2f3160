// Which layers stay where options alone say it: those of a list, or evenly spaced ones, as DistilBERT was copied from
// its teacher (Sanh et al. 2019, arXiv 1910.01108, section 3). Where influence chooses, prune.cpp does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prune/prune.h"
#include "runtime/formats/config.h"

namespace attar {

inline constexpr const char* kUniform = "uniform";       // of PruneOptions::layer_choice
inline constexpr int64_t kFirstKept = 2, kLastKept = 1;  // layers that influence leaves alone
inline constexpr int64_t kPattern = 6;                   // layers of gemma3: five local ones and a global one
bool patterned(const ModelConfig& config);               // gemma3: layers go by whole patterns
bool drops_by_influence(const PruneOptions& options);    // the text says which layers go
bool drops_layers(const PruneOptions& options);          // by whatever choice

// Error{Usage} with the key for layers that cannot go, or stay.
void check_layers(const ModelConfig& config, const PruneOptions& options);

// `count` of n places, evenly spaced, the first and the last among them: i (n - 1) / (count - 1), to the nearest. 2 <=
// count <= n
std::vector<int64_t> evenly_spaced(int64_t n, int64_t count);

// The layers that stay, ascending; nullopt: influence says it, or none goes. Of checked options.
std::optional<std::vector<int64_t>> chosen_layers(const ModelConfig& config, const PruneOptions& options);

// "kept layers 0, 2 and 3 of 4: those that were listed"
std::string kept_layers_note(const std::vector<int64_t>& kept, int64_t n_layers, const PruneOptions& options);

}  // namespace attar
