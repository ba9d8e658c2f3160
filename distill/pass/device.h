// Where a training computes its passes and the products of its heads: what `device` says, on this machine.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>

#include "compress/precision.h"

namespace attar {

// A device of LibTorch's, on which DevicePass computes; none: the processor, by hand (TrainingPass).
using PassDevice = std::optional<c10::Device>;

// Whether LibTorch finds a GPU that it can compute on.
bool has_cuda();

// "cpu" or "cuda"; auto is one of them. Error{Resources}: cuda, and LibTorch finds none.
// Error{Usage}: the name is none of the three.
std::string device_here(const std::string& name);

// For the process that is the `local_rank`-th of a training on this machine, from 0: its GPUs are dealt out in turn.
PassDevice pass_device(const std::string& name, int local_rank = 0);

// work(), for which the memory of the device may be too small. Error{Resources} of `where` then; `hint`: the way out.
void within_device_memory(const std::string& device, const std::string& where, const std::string& hint,
                          const std::function<void()>& work);

// What find_precision says, but auto is bf16 on a GPU. The name is one of the three.
Precision precision_on(const PassDevice& device, const std::string& name);

}  // namespace attar
