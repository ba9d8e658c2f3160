// A block that learns as a whole behind error feedback. How is handed in, since a trainer's pass is nothing that this
// folder may include: recipes/run/qad has it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compress/block_walk.h"

namespace attar {

struct QuantizedModel;

// How far the block's outputs are from what they were before quantization: squared errors over squared values, on text
// that it does not learn from.
struct BlockLoss {
  double before = 0, after = 0;
  bool operator==(const BlockLoss&) const = default;
};

struct BlockLesson {
  CausalLM original;              // before quantization, the one layer of a model that has nothing else
  WalkedLayer walked;             // what it is given and should give
  at::Tensor channels;            // (C) f64: how much an error of each output counts; undefined: all alike
  std::function<void()> between;  // to be called every now and then: what it throws ends the rest
};

// Changes the bytes of `codes`, which has tensors of `original` under their names, where that brings the outputs
// nearer. nullopt: there is nothing in them that can learn.
using BlockLearner = std::function<std::optional<BlockLoss>(const BlockLesson& lesson, QuantizedModel& codes)>;

// The layer's tensors in a model that has nothing else, whose memory they share.
CausalLM layer_alone(const CausalLM& model, int64_t layer);

// The same of the named codes, while `learn` has them.
std::optional<BlockLoss> learn_layer(const BlockLearner& learn, const BlockLesson& lesson, int64_t layer,
                                     const std::vector<std::string>& names, QuantizedModel& model);

}  // namespace attar
