// One choice for each of several things, so that bytes stay within a budget and least is lost: the multiple-choice
// knapsack, solved exactly by dynamic programming over bytes (Kellerer, Pferschy and Pisinger 2004, "Knapsack
// Problems", section 11.5). Bytes are counted in their greatest common divisor; where that makes more than 2^16 states,
// in larger steps, rounded up, so that a budget is never exceeded; what that leaves of one is spent item by item.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace attar::knapsack {

struct Choice {
  uint64_t bytes;
  double loss;  // at least 0; infinite: never taken
};
using Item = std::vector<Choice>;  // not empty

// The choices whose losses add up to least within the budget: a place in each item. Ties: of equal loss the fewer
// bytes. nullopt: the smallest of them all is larger.
std::optional<std::vector<size_t>> least_loss(const std::vector<Item>& items, uint64_t budget_bytes);

// The fewest bytes whose losses add up to at most `loss`. nullopt: the least loss of them all is more.
std::optional<std::vector<size_t>> least_bytes(const std::vector<Item>& items, double loss);

// What a smallest choice costs in all.
uint64_t smallest_bytes(const std::vector<Item>& items);

}  // namespace attar::knapsack
