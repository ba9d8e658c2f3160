// A quantized model as something to train (quantization-aware distillation): what a trainer moves in place of its
// tensors, so that every step computes with exactly what the packed bytes decode to, and the bytes afterwards.
#pragma once

#include <string>

#include "compress/reparameterization.h"
#include "quantize/quantize.h"

namespace attar {

enum class GridParts { All, Scales };  // codes and block scales, or scales alone
enum class RateUnit { Weight, Cell };  // what a learning rate counts: in a tensor's mean cell all types move alike

struct GridTrainingOptions {
  GridParts parts = GridParts::All;
  double scale_rate = 0.1;  // learning rate of block scales, relative to that of weights
  RateUnit unit = RateUnit::Weight;
};

// For each tensor of `quantized` in blocks: "latent" (out, in), "d" and "dmin" (blocks), which start as the original
// weights moved into the cells of the codes that were chosen. In F16 and BF16: "latent" alone. F32 is trained itself.
Reparameterizations grid_parameters(const CausalLM& original, const QuantizedModel& quantized,
                                    const GridTrainingOptions& options, int threads);

// The bytes of what was trained; `student` has what is F32. `quantized` is what grid_parameters was given.
void take_trained(const CausalLM& student, const Reparameterizations& trained, QuantizedModel& quantized, int threads);

// Of all its bytes: what a training that starts from it depends on.
std::string content_hash(const QuantizedModel& quantized);

}  // namespace attar
