#include "quantize/kept/kept_sensitivity.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "compress/kept/text_hash.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

using Json = nlohmann::json;

constexpr const char* kSensitivityKind = "sensitivity";
constexpr const char *kEmbedding = "embedding", *kStreams = "streams";

Json to_json(const Sensitivity& sensitivity) {
  Json json = Json::object();
  for (const auto& [name, losses] : sensitivity)
    for (const auto& [type, loss] : losses) json[name][format_of(type).name] = loss;
  return json;
}

// Every matrix of the model has losses, and there are no others.
Sensitivity sensitivity_of(const Json& json, const ModelConfig& config, const std::string& path) {
  Sensitivity out;
  for (const auto& [name, losses] : json.items())
    for (const auto& [type, loss] : losses.items()) {
      const QuantFormat* format = find_format(type);
      if (format == nullptr) throw damaged_kept(path, "type " + printable(type));
      out[name][format->type] = loss.get<double>();
    }
  size_t matrices = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (!spec.is_matrix()) continue;
    ++matrices;
    if (!out.contains(spec.name)) throw damaged_kept(path, "tensor " + spec.name);
  }
  if (matrices != out.size()) throw damaged_kept(path, "its tensors");
  return out;
}

// The tensor of this name, f64.
at::Tensor kept_tensor(const std::map<std::string, at::Tensor>& tensors, const char* name, at::IntArrayRef shape,
                       const std::string& path) {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second.sizes() != shape || found->second.scalar_type() != at::kDouble)
    throw damaged_kept(path, name);
  return found->second;
}

}  // namespace

Identity sensitivity_identity(const std::string& model_hash, const std::vector<TokenBatch>& sequences,
                              const std::vector<TensorType>& types, Rounding rounding) {
  std::string names;
  for (const TensorType type : types) names += (names.empty() ? "" : " ") + std::string(format_of(type).name);
  Identity identity = program_identity();
  identity.insert(identity.end(), {{"model", model_hash},
                                   {"text", text_hash(sequences)},
                                   {"types", names},
                                   {"rounding", rounding == Rounding::FedBack ? "fed back" : "alone"}});
  return identity;
}

KeptSensitivity::KeptSensitivity(const std::string& folder, Identity identity) : identity_(std::move(identity)) {
  if (!folder.empty()) path_ = folder + "/sensitivity-" + identity_hash(identity_).substr(0, 16) + ".safetensors";
}

std::optional<Measured> KeptSensitivity::take(const ModelConfig& config, std::string& note) const {
  if (path_.empty() || !std::filesystem::exists(path_)) return std::nullopt;
  try {
    const KeptFile file = read_kept(path_, kSensitivityKind);
    if (const std::string differ = differences(file.identity, identity_); !differ.empty())
      throw input_error(path_, "is of another run: " + differ);
    const std::map<std::string, at::Tensor> tensors = tensors_of(file, path_);
    return Measured{sensitivity_of(Json::parse(file.json), config, path_),
                    kept_tensor(tensors, kEmbedding, {config.width, config.width}, path_),
                    kept_tensor(tensors, kStreams, {config.n_layers(), config.width}, path_)};
  } catch (const Json::exception&) {
    note = damaged_kept(path_, "its values").what();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Input) throw;
    note = error.what();
  }
  note = "measured again, because the cache cannot be used: " + note;
  return std::nullopt;
}

void KeptSensitivity::keep(const Measured& measured) const {
  if (path_.empty()) return;
  write_kept(path_, kSensitivityKind, identity_, to_json(measured.sensitivity).dump(),
             {{kEmbedding, measured.embedding}, {kStreams, measured.streams}});
}

KeptAt KeptSensitivity::partial() const {
  if (path_.empty()) return {};
  return {path_.substr(0, path_.rfind('.')) + ".part.safetensors", identity_};
}

}  // namespace attar
