#include "prune/kept_cuts.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/kept/text_hash.h"
#include "compress/weight_source.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char *kCutsKind = "cuts", *kPrefix = "cuts-", *kRemoved = "removed";

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

}  // namespace

KeptCuts::KeptCuts(std::string folder, const CausalLM& model, const std::vector<TokenBatch>& text,
                   const PruneOptions& options)
    : folder_(std::move(folder)) {
  if (folder_.empty()) return;
  identity_ = program_identity();
  identity_.insert(identity_.end(), {{"model", WeightSource(model).content_hash()}, {"text", text_hash(text)}});
  PruneOptions given = options;
  visit_fields(given, [&](const auto& value, const std::string& name, const char*) {
    identity_.emplace_back(name, Json(value).dump());
  });
  for (const fs::path& file : files_of(folder_))
    if (is_aside(file))
      fs::remove(file);
    else
      checked(file);
}

KeptFile KeptCuts::checked(const std::string& path) const {
  KeptFile file = read_kept(path, kCutsKind);
  if (const std::string differ = differences(file.identity, identity_); !differ.empty())
    throw usage_error(folder_, "holds cuts of another run: " + differ, "", "",
                      "go on with what it began with, or delete this folder");
  return file;
}

std::vector<int64_t> KeptCuts::removed_layers() const {
  const std::string from = path(kRemoved);
  if (folder_.empty() || !fs::exists(from)) return {};
  return number_list(checked(from).json, 0, from);
}

void KeptCuts::keep_removed(const std::vector<int64_t>& layers) const {
  if (!folder_.empty())
    write_kept(path(kRemoved), {.kind = kCutsKind, .identity = identity_, .json = Json(layers).dump()});
}

bool KeptCuts::has(int64_t layer) const {
  return !folder_.empty() && fs::exists(path("layer-" + std::to_string(layer)));
}

void KeptCuts::take(int64_t layer, CausalLM& model, LayerCut& cut) const {
  const std::string from = path("layer-" + std::to_string(layer));
  const KeptFile file = checked(from);
  LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
  try {
    const Json json = Json::parse(file.json);
    config.n_heads = json.at("heads"), config.n_kv_heads = json.at("kv_heads"), config.ffn_width = json.at("ffn");
    cut.kept_channels = json.at("kept_channels").get<std::vector<int64_t>>();
    cut.kept_kv_groups = json.at("kept_kv_groups").get<std::vector<int64_t>>();
    cut.relative_error = json.at("relative_error");
  } catch (const Json::exception&) {
    throw damaged_kept(from, "its values");
  }
  for (const auto& [name, tensor] : tensors_of(file, from)) model.parameters.at(name) = tensor;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer && model.parameter(spec.name).sizes().vec() != spec.shape)
      throw damaged_kept(from, "tensor " + spec.name);
}

void KeptCuts::keep(int64_t layer, const CausalLM& model, const LayerCut& cut) const {
  if (folder_.empty()) return;
  const LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
  const Json json = {{"heads", config.n_heads},
                     {"kv_heads", config.n_kv_heads},
                     {"ffn", config.ffn_width},
                     {"kept_channels", cut.kept_channels},
                     {"kept_kv_groups", cut.kept_kv_groups},
                     {"relative_error", cut.relative_error}};
  std::map<std::string, at::Tensor> tensors;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) tensors[spec.name] = model.parameter(spec.name);
  write_kept(path("layer-" + std::to_string(layer)), kCutsKind, identity_, json.dump(), tensors);
}

std::string KeptCuts::path(const std::string& part) const {
  return folder_ + "/" + kPrefix + part + ".safetensors";
}

void remove_cuts(const std::string& folder) {
  for (const fs::path& file : files_of(folder)) fs::remove(file);
}

bool has_cuts(const std::string& folder) {
  const std::vector<fs::path> files = files_of(folder);
  return std::any_of(files.begin(), files.end(), [](const fs::path& file) { return !is_aside(file); });
}

}  // namespace attar
