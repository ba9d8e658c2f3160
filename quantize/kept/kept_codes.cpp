#include "quantize/kept/kept_codes.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/kept/text_hash.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kCodesKind = "codes";
constexpr const char* kPrefix = "codes-";

std::string types_hash(const QuantizePlan& plan) {
  Sha256 hash;
  for (const PlannedTensor& planned : plan.tensors)
    hash.add(planned.spec.name + ";" + format_of(planned.type).name + ";");
  return hash.hex();
}

std::vector<fs::path> files_of(const std::string& folder) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(kPrefix)) files.push_back(entry.path());
  return files;
}

bool is_aside(const fs::path& path) {
  return path.filename().string().find(".tmp-") != std::string::npos;
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

KeptCodes::KeptCodes(std::string folder, Identity identity)
    : folder_(std::move(folder)), identity_(std::move(identity)) {
  for (const fs::path& file : files_of(folder_))
    if (is_aside(file))
      fs::remove(file);
    else
      checked(file);
}

KeptFile KeptCodes::checked(const std::string& path) const {
  KeptFile file = read_kept(path, kCodesKind);
  if (const std::string differ = differences(file.identity, identity_); !differ.empty())
    throw usage_error(folder_, "holds codes of another run: " + differ, "", "",
                      "go on with what it began with, or delete this folder");
  return file;
}

bool KeptCodes::take(const std::string& part, const QuantizePlan& plan, Tensors& into) const {
  if (folder_.empty() || !fs::exists(path(part))) return false;
  const KeptFile file = checked(path(part));
  try {
    const Json json = Json::parse(file.json);
    if (json.at("types") != types_hash(plan))
      throw usage_error(folder_, "holds codes of other types of tensors", "", "", "delete this folder");
    for (const SafeTensor& stored : file.tensors) {
      QuantizedTensor tensor = planned_codes(stored, plan, path(part));
      const Json& errors = json.at("errors").at(stored.name);
      tensor.relative_error = errors.at(0), tensor.rounding_error = errors.at(1);
      into[stored.name] = std::move(tensor);
    }
  } catch (const Json::exception&) {
    throw damaged_kept(path(part), "its values");
  }
  return true;
}

void KeptCodes::keep(const std::string& part, const QuantizePlan& plan, const Tensors& tensors,
                     const std::vector<std::string>& names) const {
  if (folder_.empty()) return;
  KeptFile file{.kind = kCodesKind, .identity = identity_, .json = {}};
  Json errors = Json::object();
  for (const std::string& name : names) {
    const QuantizedTensor& tensor = tensors.at(name);
    file.tensors.push_back({name, TensorType::I8, {static_cast<int64_t>(tensor.bytes.size())}, tensor.bytes});
    errors[name] = {tensor.relative_error, tensor.rounding_error};
  }
  file.json = Json({{"types", types_hash(plan)}, {"errors", errors}}).dump();
  write_kept(path(part), std::move(file));
}

std::string KeptCodes::path(const std::string& part) const {
  return folder_ + "/" + kPrefix + part + ".safetensors";
}

void require_no_codes(const std::string& folder) {
  const std::vector<fs::path> files = files_of(folder);
  if (std::any_of(files.begin(), files.end(), [](const fs::path& file) { return !is_aside(file); }))
    throw usage_error(folder, "already holds codes of a run", "", "",
                      "add --resume to go on with it, or choose another -o, or delete this folder");
}

}  // namespace attar
