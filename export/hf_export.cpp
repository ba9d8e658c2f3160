// A Hugging Face directory of a model's float weights, and the float values of a quantized one.
#include <ATen/ops/empty.h>

#include <deque>
#include <filesystem>

#include "export/export.h"
#include "export/hf_folder.h"
#include "export/model_card.h"
#include "export/watched_bytes.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/half.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/finite.h"
#include "runtime/formats/hf_directory.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> to_bf16(const std::string& tensor, std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * 2);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = f32_to_bf16(values[i]);
    if ((half & 0x7f80) == 0x7f80)  // rounded up to infinity
      throw input_error("tensor " + tensor, "holds values too large for BF16", "", "", "use float32");
    bytes[2 * i] = static_cast<std::byte>(half & 255);
    bytes[2 * i + 1] = static_cast<std::byte>(half >> 8);
  }
  return bytes;
}

// A model's tensors as they are written; what is not in the model's memory is held here.
struct Weights {
  std::vector<SafeTensor> tensors;
  std::vector<at::Tensor> held;
  std::deque<std::vector<std::byte>> halves;
};
Weights weights_of(const CausalLM& model, TensorType type) {
  Weights out;
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const at::Tensor& tensor = out.held.emplace_back(model.parameters.at(spec.name).detach().contiguous());
    const std::span<const float> values(tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel()));
    require_finite(spec.name, values);
    const auto bytes = type == TensorType::BF16
                           ? std::span<const std::byte>(out.halves.emplace_back(to_bf16(spec.name, values)))
                           : std::as_bytes(values);
    out.tensors.push_back({spec.hf_name, type, spec.shape, bytes});
  }
  return out;
}

}  // namespace

void export_hf(const std::string& directory, const CausalLM& model, const TokenizerData& tokenizer,
               const ExportInfo& info, const std::string& dtype, const Progress& progress) {
  if (dtype != "float32" && dtype != "bfloat16")
    throw usage_error("export", "the number type is not supported", "float32 or bfloat16", printable(dtype));
  const HfFolder folder{model.config, tokenizer, info, dtype, hf_config_json(model.config, dtype, tokenizer)};
  const Weights weights = weights_of(model, dtype == "bfloat16" ? TensorType::BF16 : TensorType::F32);
  write_hf_folder(directory, folder, weights.tensors, progress);
}

void write_hf_folder(const std::string& directory, const HfFolder& folder, const std::vector<SafeTensor>& tensors,
                     const Progress& progress) {
  check_tokenizer(folder.tokenizer, directory);
  uint64_t bytes = 0;
  for (const SafeTensor& tensor : tensors) bytes += tensor.bytes.size();
  const auto done = watched_bytes(progress, 2 * bytes);  // written, then hashed
  const std::string aside = aside_path(directory);
  std::error_code code;
  fs::remove_all(aside, code);
  fs::create_directories(aside, code);
  try {
    const std::string weights = aside + "/model.safetensors";
    write_safetensors(weights, tensors, {{"format", "pt"}}, done);
    write_hf_tokenizer(aside, folder.tokenizer);
    write_file_atomically(aside + "/config.json", folder.config_json);
    const CardFacts facts{folder.format, folder.numbers, "model.safetensors", sha256_of_file(weights, done),
                          fs::file_size(weights)};
    write_file_atomically(aside + "/README.md", model_card(folder.config, folder.info, facts));
    publish(aside, directory);
  } catch (...) {
    fs::remove_all(aside, code);
    throw;
  }
}

std::string kv_note(const ModelConfig& config) {
  if (config.kv == KvFormat::F16) return {};
  return std::string("keys and values are kept in ") + name_of(config.kv) +
         ", as a GGUF alone says: a Hugging Face directory has no place for that, nor for the scales of keys";
}

CausalLM dequantized(const QuantizedModel& model) {
  CausalLM plain;
  plain.config = model.config;
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const QuantizedTensor& tensor = model.tensors.at(spec.name);
    const QuantFormat& format = format_of(tensor.type);
    at::Tensor values = at::empty(spec.shape, at::kFloat);
    format.decode(tensor.bytes.data(), spec.elements() / format.block_size, values.mutable_data_ptr<float>());
    plain.parameters[spec.name] = std::move(values);
  }
  return plain;
}

}  // namespace attar
