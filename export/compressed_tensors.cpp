// Integer codes for Hugging Face's loaders. Source: the compressed-tensors library's "pack-quantized" form: of a linear
// weight_packed (out, in * bits / 32) I32, the first code lowest, each plus half its range; weight_scale
// (out, in / group) and weight_shape.
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "export/export.h"
#include "export/hf_folder.h"
#include "runtime/base/error.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/finite.h"
#include "runtime/formats/hf_directory.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

struct IntegerForm {
  int bits;       // 4 or 8
  int64_t group;  // weights that share a scale: 16 or 32
  auto operator<=>(const IntegerForm&) const = default;
};

// nullopt: the codes are no whole numbers times a scale.
std::optional<IntegerForm> form_of(const QuantizedTensor& tensor) {
  const QuantFormat& format = format_of(tensor.type);
  if (format.codes == nullptr || format.block_size % 32 != 0) return std::nullopt;
  IntegerForm form{format.codes->least >= -8 && format.codes->most <= 7 ? 4 : 8, 32};
  const auto parts = static_cast<int64_t>(tensor.bytes.size()) / format.block_bytes * format.block_size / 32;
  for (int64_t part = 0; part < parts; ++part) {
    CodeBlock block;
    format.codes->read(tensor.bytes.data(), part, &block);
    if (block.minimum[0] != 0.0f || block.minimum[1] != 0.0f) return std::nullopt;
    if (block.scale[0] != block.scale[1]) form.group = 16;
  }
  return form;
}

// What the file's tensors point to.
struct Store {
  std::deque<std::vector<std::byte>> held;
  std::vector<SafeTensor> tensors;

  template <class T>
  void add(const std::string& name, TensorType type, std::vector<int64_t> shape, const std::vector<T>& values) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
    tensors.push_back({name, type, std::move(shape), held.emplace_back(bytes.begin(), bytes.end())});
  }
};

void add_codes(const TensorSpec& spec, const QuantizedTensor& tensor, const IntegerForm& form, Store& store) {
  const QuantFormat& format = format_of(tensor.type);
  const int64_t rows = spec.shape[0], columns = spec.shape[1], a_word = 32 / form.bits;
  std::vector<int32_t> words(static_cast<size_t>(spec.elements() / a_word));
  std::vector<float> scales;
  for (int64_t part = 0; part < spec.elements() / 32; ++part) {
    CodeBlock block;
    format.codes->read(tensor.bytes.data(), part, &block);
    for (int64_t half = 0; half < 2; ++half) require_finite(spec.name, {&block.scale[half], 1}, 32 * part + 16 * half);
    for (int64_t j = 0; j < 32; ++j) {
      const auto code = static_cast<uint32_t>(block.codes[j] + (1 << (form.bits - 1)));
      const int64_t place = 32 * part + j;
      auto& word = words[static_cast<size_t>(place / a_word)];
      word = static_cast<int32_t>(static_cast<uint32_t>(word) | (code << (form.bits * (place % a_word))));
    }
    for (int64_t g = 0; g < 32 / form.group; ++g) scales.push_back(block.scale[g]);
  }
  const std::string name = spec.hf_name.substr(0, spec.hf_name.rfind(".weight")) + ".";
  store.add(name + "weight_packed", TensorType::I32, {rows, columns / a_word}, words);
  store.add(name + "weight_scale", TensorType::F32, {rows, columns / form.group}, scales);
  store.add(name + "weight_shape", TensorType::I64, {2}, spec.shape);
}

void add_values(const TensorSpec& spec, const QuantizedTensor& tensor, Store& store) {
  const QuantFormat& format = format_of(tensor.type);
  std::vector<float> values(static_cast<size_t>(spec.elements()));
  format.decode(tensor.bytes.data(), spec.elements() / format.block_size, values.data());
  require_finite(spec.name, values);
  store.add(spec.hf_name, TensorType::F32, spec.shape, values);
}

Json scheme(const IntegerForm& form, const std::vector<std::string>& targets) {
  return {{"targets", targets},
          {"weights",
           {{"num_bits", form.bits},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", "group"},
            {"group_size", form.group},
            {"dynamic", false}}},
          {"input_activations", nullptr},
          {"output_activations", nullptr}};
}

bool is_linear(const TensorSpec& spec) {
  return spec.is_matrix() && spec.role != Role::Embedding && spec.role != Role::Output;
}

}  // namespace

void export_compressed_tensors(const std::string& directory, const QuantizedModel& model,
                               const TokenizerData& tokenizer, const ExportInfo& info, const Progress& progress) {
  std::map<IntegerForm, std::vector<std::string>> targets;
  Store store;
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const QuantizedTensor& tensor = model.tensors.at(spec.name);
    if (!is_linear(spec)) {
      add_values(spec, tensor, store);
      continue;
    }
    const std::optional<IntegerForm> form = form_of(tensor);
    if (!form)
      throw usage_error("compressed-tensors", "cannot hold the codes of " + spec.name,
                        "whole numbers times a scale: Q4_0, Q5_0, Q8_0, IQ4_NL, Q6_K, Q3_K, Q2_0",
                        format_of(tensor.type).name);
    targets[*form].push_back(spec.hf_name.substr(0, spec.hf_name.rfind(".weight")));
    add_codes(spec, tensor, *form, store);
  }
  Json config = Json::parse(hf_config_json(model.config, "float32", tokenizer));
  Json groups = Json::object();
  for (const auto& [form, names] : targets) groups["group_" + std::to_string(groups.size())] = scheme(form, names);
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "pack-quantized"},
                                   {"quantization_status", "compressed"},
                                   {"ignore", Json::array({"lm_head"})},
                                   {"config_groups", groups}};
  const HfFolder folder{model.config,
                        tokenizer,
                        info,
                        "integers with float32 scales",
                        config.dump(2) + "\n",
                        CardFormat::CompressedTensors};
  write_hf_folder(directory, folder, store.tensors, progress);
}

QuantizedModel stored_codes(const ModelFile& file) {
  QuantizedModel model{file.config(), {}, {}};
  for (const TensorSpec& spec : tensor_specs(file.config())) {
    const TensorType type = spec.is_matrix() ? file.tensor(spec.name).type : TensorType::F32;
    QuantizedTensor& tensor = model.tensors[spec.name];
    tensor.type = type, tensor.shape = spec.shape;
    if (spec.is_matrix()) {
      tensor.bytes = file.rows(spec);
    } else {
      const std::vector<float> values = file.values(spec);
      const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
      tensor.bytes.assign(bytes.begin(), bytes.end());
    }
    model.plan.tensors.push_back({spec, type});
  }
  return model;
}

}  // namespace attar
