#include "runtime/formats/container/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "runtime/base/atomic_file.h"
#include "runtime/base/checked.h"
#include "runtime/base/error.h"
#include "runtime/formats/container/json_object.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kHeaderLimitBytes = 100'000'000;  // as the reference reader

constexpr const char* kFrequencies = ".rotary_emb.inv_freq";

struct Dtype {
  const char* name;
  TensorType type;
};
constexpr Dtype kDtypes[] = {{"F32", TensorType::F32}, {"F16", TensorType::F16}, {"BF16", TensorType::BF16},
                             {"F64", TensorType::F64}, {"I64", TensorType::I64}, {"I32", TensorType::I32},
                             {"I16", TensorType::I16}, {"I8", TensorType::I8},   {"BOOL", TensorType::I8}};

const char* dtype_name(TensorType type) {
  for (const Dtype& row : kDtypes)
    if (row.type == type) return row.name;
  return nullptr;
}

// A tensor and where it begins behind the header.
struct Placed {
  uint64_t begin;
  SafeTensor tensor;
};

Placed read_tensor(const std::string& name, const Json& entry, const LazyBytes& data, const std::string& path) {
  const std::string where = path + ": tensor " + printable(name);
  const auto number = [&](const Json& value) {
    if (!value.is_number_unsigned())
      throw input_error(where, "has a header that is not as it should be", "whole numbers");
    return value.get<uint64_t>();
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") ||
      !entry["shape"].is_array() || !entry.contains("data_offsets") || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2)
    throw input_error(where, "has a header that is not as it should be", "dtype, shape and data_offsets");
  SafeTensor tensor{.name = name, .type = TensorType::F32, .shape = {}, .bytes = {}, .is_boolean = false};
  const Dtype* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                    [&](const Dtype& row) { return entry["dtype"] == row.name; });
  if (dtype == std::end(kDtypes))
    throw input_error(where, "has a number type that is not supported", "F32, F16, BF16, F64 or integers",
                      printable(entry["dtype"].get<std::string>()));
  tensor.type = dtype->type;
  tensor.is_boolean = entry["dtype"] == "BOOL";
  uint64_t size_bytes = static_cast<uint64_t>(format_of(dtype->type).block_bytes);
  for (const Json& extent : entry["shape"]) {
    size_bytes = checked_mul(size_bytes, number(extent), where);
    tensor.shape.push_back(checked_cast<int64_t>(number(extent), where));
  }
  const uint64_t begin = number(entry["data_offsets"][0]), end = number(entry["data_offsets"][1]);
  if (begin > end || end > data.size())
    throw input_error(where, "runs past the end of the file", "at most " + std::to_string(data.size()),
                      std::to_string(end), "the file is cut; fetch it again");
  if (end - begin != size_bytes)
    throw input_error(where, "has a size that does not fit its shape", std::to_string(size_bytes) + " bytes",
                      std::to_string(end - begin));
  tensor.bytes = data.subspan(begin, size_bytes);
  return {begin, std::move(tensor)};
}

// What writers leave out after they have made the index: a head that is the embedding, buffers.
bool may_be_absent(const std::string& name) {
  return name == "lm_head.weight" || name.ends_with(kFrequencies);
}

// A shard holds the tensors that the index says it holds, and no other.
void check_shard(const SafetensorsFile& shard, std::vector<std::string>& names, const std::string& index) {
  for (const std::string& name : names)
    if (shard.find(name) == nullptr && !may_be_absent(name))
      throw input_error(index, "puts tensor " + printable(name) + " where it is not", "in " + shard.path());
  std::sort(names.begin(), names.end());
  for (const SafeTensor& tensor : shard.tensors())
    if (!is_buffer(tensor) && !std::binary_search(names.begin(), names.end(), tensor.name))
      throw input_error(index, "does not name tensor " + printable(tensor.name), "", "in " + shard.path());
}

}  // namespace

bool is_buffer(const SafeTensor& tensor) {
  return tensor.is_boolean || tensor.name.ends_with(kFrequencies);
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file;
  file.file_ = InputFile(path);
  const uint64_t size_bytes = file.file_.size_bytes();
  uint64_t header_bytes = 0;
  if (size_bytes < 8)
    throw input_error(path, "is too short for a safetensors file", "at least 8 bytes", std::to_string(size_bytes));
  file.file_.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (header_bytes > kHeaderLimitBytes || header_bytes > size_bytes - 8)
    throw input_error(path, "the header's length is impossible",
                      "at most " + std::to_string(std::min<uint64_t>(kHeaderLimitBytes, size_bytes - 8)),
                      std::to_string(header_bytes), "the file is cut or no safetensors file");
  std::string text(header_bytes, '\0');
  file.file_.read(8, std::as_writable_bytes(std::span(text)));
  check_json_object(text, path + ": the header");
  const Json header = Json::parse(text);
  const LazyBytes data(file.file_, 8 + header_bytes, size_bytes - 8 - header_bytes);
  std::vector<Placed> placed;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.items())
        if (value.is_string()) file.metadata_[key] = value;
      continue;
    }
    placed.push_back(read_tensor(name, entry, data, path));
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
  uint64_t covered = 0;
  for (Placed& at : placed) {
    if (at.begin != covered && at.tensor.bytes.size() > 0)
      throw input_error(path + ": tensor " + printable(at.tensor.name), "overlaps another tensor or leaves a hole");
    covered += at.tensor.bytes.size();
    file.tensors_.push_back(std::move(at.tensor));
  }
  if (covered != data.size())
    throw input_error(path, "has bytes that belong to no tensor", std::to_string(covered), std::to_string(data.size()));
  std::sort(file.tensors_.begin(), file.tensors_.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  return file;
}

std::vector<SafetensorsFile> SafetensorsFile::open_directory(const std::string& directory) {
  const std::string single = directory + "/model.safetensors", index = single + ".index.json";
  std::vector<SafetensorsFile> files;
  if (path_exists(single)) {
    files.push_back(open(single));
    return files;
  }
  if (!path_exists(index))
    throw input_error(directory, "holds no weights", "model.safetensors or model.safetensors.index.json");
  const std::string text = read_file(index, kHeaderLimitBytes);
  check_json_object(text, index);
  const Json json = Json::parse(text);
  if (!json.contains("weight_map") || !json["weight_map"].is_object()) throw input_error(index, "has no weight_map");
  std::map<std::string, std::vector<std::string>> named;  // by shard
  for (const auto& [name, shard] : json["weight_map"].items()) {
    if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos)
      throw input_error(index, "names a shard outside the folder", "a file name", printable(shard.dump()));
    named[shard.get<std::string>()].push_back(name);
  }
  for (auto& [shard, names] : named) {
    files.push_back(open(directory + "/" + shard));
    check_shard(files.back(), names, index);
  }
  return files;
}

const SafeTensor* SafetensorsFile::find(const std::string& name) const {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const SafeTensor& t, const std::string& n) { return t.name < n; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

void write_safetensors(const std::string& path, const std::vector<SafeTensor>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(uint64_t)>& written) {
  AtomicFile file(path);
  write_safetensors(file, tensors, metadata, written);
  file.commit();
}

void write_safetensors(AtomicFile& file, const std::vector<SafeTensor>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(uint64_t)>& written) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const SafeTensor& tensor : tensors) {
    const char* dtype = dtype_name(tensor.type);
    if (dtype == nullptr) throw input_error(printable(tensor.name), "has a type that safetensors cannot hold");
    header[tensor.name] = {
        {"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  std::vector<std::byte> buffer;
  for (const SafeTensor& tensor : tensors) {
    file.write(tensor.bytes.read(buffer));
    if (written) written(tensor.bytes.size());
  }
}

}  // namespace attar
