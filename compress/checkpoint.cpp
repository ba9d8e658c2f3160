#include "compress/checkpoint.h"

#include <ATen/ops/from_blob.h>

#include <filesystem>
#include <optional>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/blocks/quant_format.h"
#include "runtime/formats/container/json_object.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/hf_directory.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

TensorType stored_type(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kLong ? TensorType::I64 : TensorType::F32;
}

SafeTensor view_of(const std::string& name, const at::Tensor& tensor) {
  return {name, stored_type(tensor), tensor.sizes().vec(),
          std::span(static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes())};
}

at::Tensor copy_of(const SafeTensor& stored, const std::string& path) {
  if (stored.type != TensorType::I64 && stored.type != TensorType::F32)
    throw input_error(path, "is damaged", "F32 or I64", format_of(stored.type).name, printable(stored.name));
  const auto kind = stored.type == TensorType::I64 ? at::kLong : at::kFloat;
  std::vector<std::byte> buffer;
  return at::from_blob(const_cast<std::byte*>(stored.bytes.read(buffer).data()), stored.shape, kind).clone();
}

std::string card(const Provenance& provenance) {
  return "---\n" + hf_card_provenance(provenance) + "---\nA checkpoint of Attar.\n";
}

}  // namespace

void write_checkpoint(const std::string& directory, const CausalLM& model, const TokenizerData& tokenizer,
                      const Provenance& provenance, const std::map<std::string, at::Tensor>& extra,
                      const std::string& state_json, const std::function<void()>& when_read) {
  const std::string aside = aside_path(directory);
  std::error_code code;
  fs::remove_all(aside, code);
  fs::create_directories(aside, code);
  try {
    std::vector<at::Tensor> held;  // contiguous copies live until they are written
    std::vector<SafeTensor> tensors, extras;
    const auto add = [&](const std::string& name, const at::Tensor& tensor, std::vector<SafeTensor>& list) {
      held.push_back(tensor.detach().contiguous());
      list.push_back(view_of(name, held.back()));
    };
    for (const TensorSpec& spec : tensor_specs(model.config)) add(spec.hf_name, model.parameter(spec.name), tensors);
    for (const auto& [name, tensor] : extra) add(name, tensor, extras);
    AtomicFile weights(aside + "/model.safetensors");
    write_safetensors(weights, tensors);
    std::optional<AtomicFile> more;
    if (!extras.empty()) write_safetensors(more.emplace(aside + "/extra.safetensors"), extras);
    if (when_read) when_read();
    weights.commit();
    if (more) more->commit();
    write_file_atomically(aside + "/config.json", checkpoint_config_json(model.config, tokenizer));
    write_hf_tokenizer(aside, tokenizer);
    write_file_atomically(aside + "/README.md", card(provenance));
    write_file_atomically(aside + "/state.json", state_json);
    publish(aside, directory);
  } catch (...) {
    fs::remove_all(aside, code);
    throw;
  }
}

Checkpoint read_checkpoint(const std::string& directory) {
  const ModelFile file = ModelFile::open(directory);
  const std::string state = directory + "/state.json";
  Checkpoint checkpoint{CausalLM::load(file), file.tokenizer(), {}, read_file(state)};
  check_json_object(checkpoint.state_json, state);
  if (const std::string path = directory + "/extra.safetensors"; fs::exists(path)) {
    const SafetensorsFile extra = SafetensorsFile::open(path);
    for (const SafeTensor& stored : extra.tensors()) checkpoint.extra[stored.name] = copy_of(stored, path);
  }
  return checkpoint;
}

}  // namespace attar
