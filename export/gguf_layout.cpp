#include "export/gguf_layout.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/formats/gguf_config.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"

namespace attar {
namespace {

constexpr const char* kHub = "https://huggingface.co/";
constexpr int64_t kQuantizationVersion = 2;  // ggml's, of all block formats since 2023
constexpr int64_t kGemmaPattern = 6;         // layer i is global when (i + 1) % 6 == 0; some loaders know no other
constexpr int64_t kFileTypeGuessed = 1024;   // LLAMA_FTYPE_GUESSED

// Architectures whose layers may have widths of their own.
struct UnevenRow {
  Family family;
  const char* architecture;
  bool interleaved_rope;
  bool fused_qkv;
  bool tied_only;
};
constexpr UnevenRow kUneven[] = {
    {Family::Llama, "deci", true, false, false},
    {Family::Qwen2, "deci", true, false, false},
    {Family::Qwen3, "openelm", false, true, true},
};

struct FileTypeRow {
  TensorType type;
  int64_t file_type;
};
constexpr FileTypeRow kFileTypes[] = {
    {TensorType::F32, 0},
    {TensorType::F16, 1},
    {TensorType::Q4_0, 2},
    {TensorType::Q4_1, 3},
    {TensorType::Q8_0, 7},
    {TensorType::Q5_0, 8},
    {TensorType::Q5_1, 9},
    {TensorType::Q6_K, 18},
    {TensorType::IQ2_XXS, 19},
    {TensorType::IQ2_XS, 20},
    {TensorType::IQ3_XXS, 23},
    {TensorType::IQ1_S, 24},
    {TensorType::IQ4_NL, 25},
    {TensorType::IQ3_S, 26},
    {TensorType::IQ2_S, 28},
    {TensorType::IQ4_XS, 30},
    {TensorType::IQ1_M, 31},
    {TensorType::BF16, 32},
    {TensorType::TQ1_0, 36},
    {TensorType::TQ2_0, 37},
    {TensorType::MXFP4, 38},
    {TensorType::NVFP4, 39},
    {TensorType::Q1_0, 40},
    {TensorType::Q2_0, 41},
    {TensorType::Q2_K, kFileTypeGuessed | 21},  // the _S presets hold one type; _M and _L mix
    {TensorType::Q3_K, kFileTypeGuessed | 11},
    {TensorType::Q4_K, kFileTypeGuessed | 14},
    {TensorType::Q5_K, kFileTypeGuessed | 16},
};

Error refusal(const std::string& what, const std::string& expected, const std::string& hint = {}) {
  return usage_error("GGUF export", what, expected, "", hint);
}

GgufLayout uneven_layout(const ModelConfig& config) {
  const char* name = traits(config.family).name;
  const auto row = std::find_if(std::begin(kUneven), std::end(kUneven),
                                [&](const UnevenRow& r) { return r.family == config.family; });
  if (row == std::end(kUneven))
    throw refusal(std::string("no architecture of GGUF holds a ") + name + " whose layers have different widths",
                  "the same widths in every layer", "prune every layer alike");
  if (row->tied_only && !config.tied_embeddings)
    throw refusal(std::string("a ") + name + " whose layers have different widths fits only architecture `" +
                      row->architecture + "`, which shares embedding and output",
                  "tied embeddings", "prune every layer alike");
  for (const LayerConfig& layer : config.layers)
    if (layer.head_dim != config.layers.front().head_dim)
      throw refusal("no architecture of GGUF holds heads of different widths in different layers", "one head width");
  GgufLayout layout;
  layout.architecture = row->architecture;
  layout.interleaved_rope = row->interleaved_rope;
  layout.fused_qkv = row->fused_qkv;
  layout.per_layer = true;
  layout.notes.push_back(std::string("layers differ in width: written as architecture `") + row->architecture +
                         "`, since `" + name + "` takes one width for all layers");
  return layout;
}

// gemma3's graph is fixed by the layer's number: every sixth is global.
void check_sliding(const ModelConfig& config) {
  const bool gemma = config.family == Family::Gemma3;
  for (int64_t i = 0; i < config.n_layers(); ++i) {
    const bool sliding = config.layers[static_cast<size_t>(i)].kind == LayerKind::SlidingAttention;
    if (!gemma && sliding)
      throw refusal(std::string("architecture `") + traits(config.family).name + "` has no sliding window",
                    "full attention", "layer " + std::to_string(i) + " slides");
    if (gemma && sliding == ((i + 1) % kGemmaPattern == 0))
      throw refusal("gemma3 in GGUF wants every sixth layer global and all others sliding; layer " + std::to_string(i) +
                        " breaks that, and other runtimes would compute something else in silence",
                    "layer " + std::to_string(i) + (sliding ? " global" : " sliding"),
                    "remove layers in whole groups of six");
  }
  if (gemma && config.sliding_window == 0) throw refusal("gemma3 in GGUF needs a sliding window", "sliding_window > 0");
}

// What llama.cpp multiplies scores by: 1/sqrt(D), but 1/sqrt(C/H) for the gemma3 of 62 layers (27B).
double architecture_scale(const ModelConfig& config) {
  const LayerConfig& layer = config.layers.front();
  const bool gemma_27b = config.family == Family::Gemma3 && config.n_layers() == 62;
  const double width = gemma_27b ? static_cast<double>(config.width) / static_cast<double>(layer.n_heads)
                                 : static_cast<double>(layer.head_dim);
  return 1.0 / std::sqrt(width);
}

std::string size_label(int64_t parameters) {
  const auto n = static_cast<double>(parameters);
  const bool billions = n >= 999.5e6, millions = n >= 999.5e3;
  const double scaled = n / (billions ? 1e9 : millions ? 1e6 : 1e3);
  const auto tenths = static_cast<int64_t>(std::llround(scaled * 10.0));
  std::string text = std::to_string(tenths < 100 ? tenths / 10 : std::llround(scaled));
  if (tenths < 100 && tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text + (billions ? "B" : millions ? "M" : "K");
}

// "org/name", a link to it, or a plain name -> the three keys that tools show.
void add_base_model(const std::string& base, const std::string& prefix, std::vector<GgufEntry>& entries) {
  const std::string path = base.rfind(kHub, 0) == 0 ? base.substr(std::string(kHub).size()) : base;
  const bool link = path.find("://") != std::string::npos;
  const size_t slash = path.find('/');
  const bool repository =
      !link && slash != std::string::npos && slash > 0 && path.find('/', slash + 1) == std::string::npos;
  std::string name = path.substr(path.find_last_of('/') + 1);
  if (name.empty()) name = path;
  entries.push_back({prefix + ".name", GgufValue::string(name)});
  if (repository) {
    entries.push_back({prefix + ".organization", GgufValue::string(path.substr(0, slash))});
    entries.push_back({prefix + ".repo_url", GgufValue::string(kHub + path)});
  } else if (link) {
    entries.push_back({prefix + ".repo_url", GgufValue::string(path)});
  }
}

void add_general(const ModelConfig& config, const GgufLayout& layout, const ExportInfo& info, int64_t file_type,
                 std::vector<GgufEntry>& entries) {
  const Provenance& from = info.provenance;
  const auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) entries.push_back({key, GgufValue::string(value)});
  };
  text("general.architecture", layout.architecture);
  text("general.type", "model");
  text("general.name", from.name.empty() ? "model" : from.name);
  text("general.author", from.author);
  text("general.size_label", size_label(config.parameter_count()));
  text("general.license", from.license);
  text("general.license.name", from.license_name);
  text("general.license.link", from.license_link);
  if (!from.base_models.empty()) {
    entries.push_back({"general.base_model.count", GgufValue::u32(static_cast<uint32_t>(from.base_models.size()))});
    for (size_t i = 0; i < from.base_models.size(); ++i)
      add_base_model(from.base_models[i], "general.base_model." + std::to_string(i), entries);
  }
  if (!from.languages.empty()) entries.push_back({"general.languages", GgufValue::array_of(from.languages)});
  entries.push_back({"general.tags", GgufValue::array_of(std::vector<std::string>{"attar", "text-generation"})});
  entries.push_back({"general.file_type", GgufValue::u32(static_cast<uint32_t>(file_type))});
  entries.push_back({"general.quantization_version", GgufValue::u32(kQuantizationVersion)});
  text("attar.version", info.attar_version);
  text("attar.recipe", info.recipe_name);
}

// One number, or one a layer.
GgufValue widths(const ModelConfig& config, const GgufLayout& layout, int64_t LayerConfig::*field) {
  if (!layout.per_layer) return GgufValue::u32(static_cast<uint32_t>(config.layers.front().*field));
  std::vector<int64_t> values;
  for (const LayerConfig& layer : config.layers) values.push_back(layer.*field);
  return GgufValue::array_of_i32(std::move(values));
}

void add_rope_scaling(const ModelConfig& config, const std::string& prefix, std::vector<GgufEntry>& entries) {
  if (!config.rope_scaling) return;
  const RopeScaling& scaling = *config.rope_scaling;
  if (scaling.type == "linear") {
    entries.push_back({prefix + "rope.scaling.type", GgufValue::string("linear")});
    entries.push_back({prefix + "rope.scaling.factor", GgufValue::f32(static_cast<float>(scaling.factor))});
    return;
  }
  // rope_freqs.weight says all that others need; these say where its numbers came from, so that no fit is needed.
  entries.push_back({"attar.rope.llama3.factor", GgufValue::f32(static_cast<float>(scaling.factor))});
  entries.push_back({"attar.rope.llama3.low_freq_factor", GgufValue::f32(static_cast<float>(scaling.low_freq_factor))});
  entries.push_back(
      {"attar.rope.llama3.high_freq_factor", GgufValue::f32(static_cast<float>(scaling.high_freq_factor))});
  entries.push_back({"attar.rope.llama3.original_context_length",
                     GgufValue::u32(static_cast<uint32_t>(scaling.original_context_length))});
}

void add_architecture(const ModelConfig& config, const GgufLayout& layout, std::vector<GgufEntry>& entries) {
  const std::string prefix = layout.architecture + ".";
  const auto number = [&](const char* key, int64_t value) {
    entries.push_back({prefix + key, GgufValue::u32(static_cast<uint32_t>(value))});
  };
  const auto real = [&](const char* key, double value) {
    entries.push_back({prefix + key, GgufValue::f32(static_cast<float>(value))});
  };
  const int64_t head_dim = config.layers.front().head_dim;
  number("block_count", config.n_layers());
  if (config.kv != KvFormat::F16) entries.push_back({kKvKey, GgufValue::string(name_of(config.kv))});
  if (config.kv != KvFormat::F16 && !config.key_scales.empty())
    entries.push_back({kKeyScalesKey, GgufValue::array_of(config.key_scales)});
  number("context_length", config.context_length);
  number("embedding_length", config.width);
  entries.push_back({prefix + "feed_forward_length", widths(config, layout, &LayerConfig::ffn_width)});
  entries.push_back({prefix + "attention.head_count", widths(config, layout, &LayerConfig::n_heads)});
  entries.push_back({prefix + "attention.head_count_kv", widths(config, layout, &LayerConfig::n_kv_heads)});
  number("attention.key_length", head_dim);
  number("attention.value_length", head_dim);
  real("attention.layer_norm_rms_epsilon", config.norm_epsilon);
  number("rope.dimension_count", head_dim);
  real("rope.freq_base", config.rope_theta);
  number("vocab_size", config.vocab_size);
  if (config.family == Family::Gemma3) {
    number("attention.sliding_window", config.sliding_window);
    number("attention.sliding_window_pattern", kGemmaPattern);
    real("rope.freq_base_swa", config.rope_theta_sliding);
  }
  add_rope_scaling(config, prefix, entries);
}

}  // namespace

GgufLayout gguf_layout(const ModelConfig& config) {
  const FamilyTraits& family = traits(config.family);
  GgufLayout layout;
  layout.architecture = family.name;
  layout.interleaved_rope = family.gguf_interleaved_rope;
  if (!config.uniform()) layout = uneven_layout(config);
  check_sliding(config);
  if (config.family == Family::Gemma3 && !config.tied_embeddings)
    throw refusal("gemma3 in GGUF shares embedding and output", "tied embeddings");
  if (config.rope_scaling && config.rope_scaling->type == "llama3" && !layout.interleaved_rope)
    throw refusal("architecture `" + layout.architecture + "` has no place for Llama 3's RoPE scaling",
                  "no scaling, or linear");
  const double factor = config.score_scale(config.layers.front()) / architecture_scale(config);
  if (std::fabs(factor - 1.0) > 1e-9) {
    if (!family.qk_norm)
      throw refusal("architecture `" + layout.architecture + "` has a fixed attention scale", "1/sqrt(head width)");
    layout.query_norm_factor = factor;
    layout.notes.push_back("the attention scale is folded into the query norms: GGUF has no key for it");
  }
  return layout;
}

std::vector<GgufEntry> gguf_metadata(const ModelConfig& config, const GgufLayout& layout,
                                     const TokenizerData& tokenizer, const ExportInfo& info, int64_t file_type) {
  std::vector<GgufEntry> entries;
  add_general(config, layout, info, file_type, entries);
  add_architecture(config, layout, entries);
  for (GgufEntry& entry : gguf_tokenizer_entries(tokenizer)) entries.push_back(std::move(entry));
  return entries;
}

std::vector<float> gguf_rope_factors(const ModelConfig& config) {
  if (!config.rope_scaling || config.rope_scaling->type != "llama3") return {};
  ModelConfig plain = config;
  plain.rope_scaling.reset();
  const std::vector<double> base = rope_frequencies(plain, config.layers.front());
  const std::vector<double> scaled = rope_frequencies(config, config.layers.front());
  std::vector<float> factors;
  for (size_t j = 0; j < base.size(); ++j) factors.push_back(static_cast<float>(base[j] / scaled[j]));
  return factors;
}

int64_t gguf_file_type(TensorType type) {
  for (const FileTypeRow& row : kFileTypes)
    if (row.type == type) return row.file_type;
  return kFileTypeGuessed;
}

}  // namespace attar
