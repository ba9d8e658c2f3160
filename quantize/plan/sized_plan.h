// The plan that loses least within a budget, or takes least for what it may lose: a type for every tensor by itself.
#pragma once

#include "quantize/quantize.h"

namespace attar {

// Types that a plan may choose from and that llama.cpp of that year reads; with the lattice types, or without.
inline constexpr int kNewestYear = 2026;
std::vector<TensorType> choosable_types(int year, bool lattice);

// Which llama.cpp a file of this plan needs, where a size chose types that are younger than 2024; "" otherwise.
std::string compat_note(const QuantizePlan& plan);

// By options.target_size, target_bpw or max_kl. `measured`: what is lost where; nullptr: a rough guess by type and
// role. Error{Usage}: what cannot be met, with the smallest that can.
QuantizePlan sized_plan(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target,
                        const Sensitivity* measured);

}  // namespace attar
