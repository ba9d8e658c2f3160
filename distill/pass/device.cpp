#include "distill/pass/device.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include "runtime/base/error.h"

namespace attar {

bool has_cuda() {
  return at::hasCUDA();
}

std::string device_here(const std::string& name) {
  if (name == "auto") return has_cuda() ? "cuda" : "cpu";
  if (name == "cpu") return name;
  if (name != "cuda") throw usage_error("device", "no such device", "cpu, cuda or auto", name);
  if (has_cuda()) return name;
  const bool built = at::globalContext().hasCUDART();
  throw Error(
      ErrorKind::Resources,
      {.where = "device",
       .what = built ? "cuda is asked for, and LibTorch finds no GPU here that it can compute on"
                     : "cuda is asked for, and the LibTorch that Attar runs on is built without CUDA",
       .expected = "cpu or auto",
       .hint = built ? "see nvidia-smi and CUDA_VISIBLE_DEVICES"
                     : "build Attar beside a CUDA wheel of torch, 2.11 or newer: distill/README.md, \"On a GPU\""});
}

PassDevice pass_device(const std::string& name, int local_rank) {
  if (device_here(name) == "cpu") return std::nullopt;
  const auto gpus = static_cast<int>(at::getNumGPUs());
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(local_rank % gpus));
}

void within_device_memory(const std::string& device, const std::string& where, const std::string& hint,
                          const std::function<void()>& work) {
  try {
    work();
  } catch (const c10::OutOfMemoryError&) {
    throw Error(ErrorKind::Resources,
                {.where = where, .what = "the memory of the device is full", .got = device, .hint = hint});
  }
}

Precision precision_on(const PassDevice& device, const std::string& name) {
  if (name == "auto" && device && device->is_cuda()) return Precision::Bf16;
  return find_precision(name).value();
}

}  // namespace attar
