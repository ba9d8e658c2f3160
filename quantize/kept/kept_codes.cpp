#include "quantize/kept/kept_codes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/kept/text_hash.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::json;

std::string types_hash(const QuantizePlan& plan) {
  Sha256 hash;
  for (const PlannedTensor& planned : plan.tensors)
    hash.add(planned.spec.name + ";" + format_of(planned.type).name + ";");
  return hash.hex();
}

// The tensor as the plan has it; its errors are not in its bytes.
QuantizedTensor planned_codes(const SafeTensor& stored, const QuantizePlan& plan, const std::string& path) {
  const auto planned = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                                    [&](const PlannedTensor& one) { return one.spec.name == stored.name; });
  std::vector<std::byte> buffer;
  const std::span<const std::byte> bytes = stored.bytes.read(buffer);
  if (planned == plan.tensors.end()) throw damaged_kept(path, "tensor " + printable(stored.name));
  const TensorSpec& spec = planned->spec;
  const int64_t columns = spec.shape.back();
  const int64_t size = spec.elements() / columns * format_of(planned->type).row_bytes(columns);
  if (static_cast<int64_t>(bytes.size()) != size) throw damaged_kept(path, "tensor " + stored.name);
  return {planned->type, spec.shape, {bytes.begin(), bytes.end()}};
}

}  // namespace

Identity codes_identity(const std::string& model_hash, const std::vector<TokenBatch>& text,
                        const QuantizeOptions& options) {
  Identity identity = program_identity();
  identity.insert(identity.end(), {{"model", model_hash}, {"text", text_hash(text)}});
  QuantizeOptions given = options;
  visit_fields(given, [&](const auto& value, const std::string& name, const char*) {
    if constexpr (requires { value.has_value(); })
      identity.emplace_back(name, value ? Json(*value).dump() : "none");
    else if (!name.starts_with("qad_"))  // of what comes after the codes
      identity.emplace_back(name, Json(value).dump());
  });
  return identity;
}

std::optional<KeptCodes::Part> KeptCodes::take(const std::string& part, const QuantizePlan& plan) const {
  if (!parts_.has(part)) return std::nullopt;
  const KeptFile file = parts_.read(part);
  Part out;
  try {
    const Json json = Json::parse(file.json);
    if (json.at("types") != types_hash(plan))
      throw usage_error(folder(), "holds codes of other types of tensors", "", "", "delete this folder");
    for (const SafeTensor& stored : file.tensors) {
      QuantizedTensor tensor = planned_codes(stored, plan, parts_.path(part));
      const Json& errors = json.at("errors").at(stored.name);
      tensor.relative_error = errors.at(0), tensor.rounding_error = errors.at(1);
      out.tensors[stored.name] = std::move(tensor);
    }
    if (json.contains("loss"))
      out.loss = BlockLoss{json.at("loss").at(0).get<double>(), json.at("loss").at(1).get<double>()};
  } catch (const Json::exception&) {
    throw damaged_kept(parts_.path(part), "its values");
  }
  return out;
}

void KeptCodes::keep(const std::string& part, const QuantizePlan& plan, const Tensors& tensors,
                     const std::vector<std::string>& names, const std::optional<BlockLoss>& loss) const {
  if (folder().empty()) return;
  std::vector<SafeTensor> kept;
  Json json = {{"types", types_hash(plan)}, {"errors", Json::object()}};
  for (const std::string& name : names) {
    const QuantizedTensor& tensor = tensors.at(name);
    kept.push_back({name, TensorType::I8, {static_cast<int64_t>(tensor.bytes.size())}, tensor.bytes});
    json["errors"][name] = {tensor.relative_error, tensor.rounding_error};
  }
  if (loss) json["loss"] = {loss->before, loss->after};
  parts_.write(part, json.dump(), std::move(kept));
}

}  // namespace attar
