#include "compress/kept/kept_file.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/kept/products_hash.h"
#include "compress/precision.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::json;

constexpr size_t kShownValue = 24;  // a hash is longer

std::string text_of(const Identity& identity) {
  return Json(identity).dump();
}

std::string checksum(const KeptFile& file) {
  Sha256 hash;
  hash.add(file.kind + "\n" + text_of(file.identity) + "\n" + file.json + "\n");
  std::vector<std::byte> buffer;
  for (const SafeTensor& tensor : file.tensors) {
    hash.add(tensor.name + ";" + format_of(tensor.type).name + Json(tensor.shape).dump() + "\n");
    hash.add(tensor.bytes.read(buffer));
  }
  return hash.hex();
}

std::string shown(const std::string& name, const std::string& kept, const std::string& wanted) {
  if (std::max(kept.size(), wanted.size()) > kShownValue) return name;
  return name + " (" + printable(kept) + ", not " + printable(wanted) + ")";
}

Error other_version(const std::string& path, const std::string& version) {
  return input_error(path, "was written by another version of Attar", "version " + std::to_string(kKeptVersion),
                     printable(version), "delete it: what it holds is made again");
}

}  // namespace

// Gradients and drifts are multiplied in bf16 where the processor does, whatever its f32 products are.
Identity program_identity() {
  const bool bf16 = find_precision("auto") == Precision::Bf16;
  return {
      {"attar", ATTAR_VERSION}, {"kernels of matrix products", products_hash()}, {"products", bf16 ? "bf16" : "fp32"}};
}

std::string identity_hash(const Identity& identity) {
  return sha256(std::to_string(kKeptVersion) + text_of(identity));
}

std::string differences(const Identity& kept, const Identity& wanted) {
  std::string out;
  const auto add = [&](const std::string& one) { out += (out.empty() ? "" : ", ") + one; };
  const auto value_of = [](const Identity& identity, const std::string& name) -> const std::string* {
    for (const auto& [key, value] : identity)
      if (key == name) return &value;
    return nullptr;
  };
  for (const auto& [name, value] : wanted) {
    const std::string* before = value_of(kept, name);
    if (before == nullptr)
      add(name);
    else if (*before != value)
      add(shown(name, *before, value));
  }
  for (const auto& [name, value] : kept)
    if (value_of(wanted, name) == nullptr) add(name);
  return out;
}

void write_kept(const std::string& path, KeptFile file) {
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  write_safetensors(path, file.tensors,
                    {{"attar", file.kind},
                     {"version", std::to_string(kKeptVersion)},
                     {"identity", text_of(file.identity)},
                     {"value", file.json},
                     {"sha256", checksum(file)}});
}

KeptFile read_kept(const std::string& path, const std::string& kind) {
  const SafetensorsFile stored = SafetensorsFile::open(path);
  const auto text = [&](const std::string& key) {
    const auto found = stored.metadata().find(key);
    if (found == stored.metadata().end()) throw damaged_kept(path, "its header");
    return found->second;
  };
  if (const std::string version = text("version"); version != std::to_string(kKeptVersion))
    throw other_version(path, version);
  KeptFile file{.kind = text("attar"), .identity = {}, .json = text("value"), .tensors = stored.tensors()};
  try {
    file.identity = Json::parse(text("identity")).get<Identity>();
  } catch (const Json::exception&) {
    throw damaged_kept(path, "its header");
  }
  if (checksum(file) != text("sha256")) throw damaged_kept(path, "its checksum");
  if (file.kind != kind) throw input_error(path, "holds something else", kind, printable(file.kind));
  return file;
}

void write_kept(const std::string& path, const std::string& kind, const Identity& identity, const std::string& json,
                const std::map<std::string, at::Tensor>& tensors) {
  KeptFile file{.kind = kind, .identity = identity, .json = json};
  std::vector<at::Tensor> held;  // contiguous, until they are written
  for (const auto& [name, tensor] : tensors) {
    held.push_back(tensor.detach().contiguous());
    const TensorType type = tensor.scalar_type() == at::kDouble ? TensorType::F64 : TensorType::F32;
    file.tensors.push_back(
        {name, type, tensor.sizes().vec(),
         std::span(static_cast<const std::byte*>(held.back().const_data_ptr()), held.back().nbytes())});
  }
  write_kept(path, std::move(file));
}

std::map<std::string, at::Tensor> tensors_of(const KeptFile& file, const std::string& path) {
  std::map<std::string, at::Tensor> out;
  for (const SafeTensor& stored : file.tensors) {
    if (stored.type != TensorType::F32 && stored.type != TensorType::F64)
      throw damaged_kept(path, "tensor " + printable(stored.name));
    at::Tensor tensor = at::empty(stored.shape, stored.type == TensorType::F64 ? at::kDouble : at::kFloat);
    std::vector<std::byte> buffer;
    const std::span<const std::byte> bytes = stored.bytes.read(buffer);
    std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(tensor.mutable_data_ptr()));
    out[stored.name] = tensor;
  }
  return out;
}

std::vector<int64_t> number_list(const std::string& json, size_t n, const std::string& path) {
  try {
    auto list = Json::parse(json).get<std::vector<int64_t>>();
    const bool whole = std::all_of(list.begin(), list.end(), [](int64_t one) { return one >= 0; });
    if (whole && (n == 0 || list.size() == n)) return list;
  } catch (const Json::exception&) {
  }
  throw damaged_kept(path, "its values");
}

Error damaged_kept(const std::string& path, const std::string& part) {
  return input_error(path, "is damaged at " + part, "", "", "delete it: what it holds is made again");
}

}  // namespace attar
