#include "runtime/formats/hf_directory.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/container/json_object.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kConfigLimitBytes = size_t{4} << 20;

// Typed reads of one JSON object that name file and key when they fail.
class Keys {
 public:
  Keys(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }
  int64_t integer(const char* key, std::optional<int64_t> fallback = {}) const {
    return read<int64_t>(key, fallback, "a whole number", [](const Json& v) {
      return v.is_number_integer() && !(v.is_number_unsigned() && v.get<uint64_t>() > uint64_t{INT64_MAX});
    });
  }
  double real(const char* key, std::optional<double> fallback = {}) const {
    return read<double>(key, fallback, "a number", [](const Json& v) { return v.is_number(); });
  }
  bool boolean(const char* key, std::optional<bool> fallback = {}) const {
    return read<bool>(key, fallback, "true or false", [](const Json& v) { return v.is_boolean(); });
  }
  std::string text(const char* key, std::optional<std::string> fallback = {}) const {
    return read<std::string>(key, fallback, "text", [](const Json& v) { return v.is_string(); });
  }
  const Json& at(const char* key) const { return json_.at(key); }
  const std::string& where() const { return where_; }

 private:
  template <class T, class Check>
  T read(const char* key, const std::optional<T>& fallback, const char* expected, Check&& check) const {
    if (!has(key)) {
      if (fallback) return *fallback;
      throw input_error(where_, std::string("key ") + key + " is missing", expected);
    }
    if (!check(json_.at(key)))
      throw input_error(where_, std::string("key ") + key + " has another type", expected,
                        printable(json_.at(key).dump(), 40));
    return json_.at(key).get<T>();
  }

  const Json& json_;
  std::string where_;
};

const FamilyTraits& family_of(const Keys& keys) {
  const std::string type = keys.text("model_type");
  for (const FamilyTraits& family : families())
    if (type == family.hf_model_type || type == family.name || (type == "mistral" && family.family == Family::Llama)) {
      if (type == "gemma3" && keys.has("text_config"))
        throw input_error(keys.where(), "is a gemma3 with vision", "the text model alone (model_type gemma3_text)");
      return family;
    }
  throw input_error(keys.where(), "model_type `" + printable(type) + "` is not supported",
                    family_names() + " (text alone), or mistral");
}

RopeScaling read_scaling(const Keys& keys, const std::string& type) {
  RopeScaling scaling{.type = type, .factor = keys.real("factor")};
  if (type == "linear") return scaling;
  scaling.low_freq_factor = keys.real("low_freq_factor");
  scaling.high_freq_factor = keys.real("high_freq_factor");
  scaling.original_context_length = keys.integer("original_max_position_embeddings");
  return scaling;
}

// Families compute one activation, and rotate whole heads.
void check_fixed_parts(const Keys& keys, const FamilyTraits& family) {
  const char* expected = family.gelu ? "gelu_pytorch_tanh" : "silu";
  const std::string activation = keys.text("hidden_activation", keys.text("hidden_act", expected));
  if (activation != expected && !(activation == "swish" && !family.gelu))
    throw input_error(keys.where(), std::string("the activation is not supported for ") + family.name, expected,
                      printable(activation));
  if (keys.real("partial_rotary_factor", 1.0) != 1.0)
    throw input_error(keys.where(), "partial RoPE is not supported", "partial_rotary_factor: 1",
                      std::to_string(keys.real("partial_rotary_factor")));
  if (keys.boolean("attention_bias", false) && !family.qkv_bias)
    throw input_error(keys.where(), "biases in attention are not supported for this family", "attention_bias: false",
                      "true");
  if (keys.boolean("mlp_bias", false))
    throw input_error(keys.where(), "biases in the feed-forward part are not supported", "mlp_bias: false", "true");
  if (keys.has("final_logit_softcapping") || keys.has("attn_logit_softcapping"))
    throw input_error(keys.where(), "soft-capped logits are not supported", "null");
}

// One rope_parameters / rope_scaling object.
void read_rope_object(const Json& object, const std::string& where, double& theta,
                      std::optional<RopeScaling>& scaling) {
  if (object.is_null()) return;
  if (!object.is_object())
    throw input_error(where, "is no JSON object", "rope_type, rope_theta, ...", printable(object.dump(), 40));
  const Keys rope(object, where);
  if (rope.real("partial_rotary_factor", 1.0) != 1.0)
    throw input_error(where, "partial RoPE is not supported", "partial_rotary_factor: 1");
  theta = rope.real("rope_theta", theta);
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (type == "llama3" || type == "linear")
    scaling = read_scaling(rope, type);
  else if (type != "default")
    throw input_error(where, "RoPE scaling `" + printable(type) + "` is not supported", "default, llama3 or linear");
}

void read_rope(const Keys& keys, ModelConfig& config) {
  config.rope_theta = keys.real("rope_theta", config.family == Family::Gemma3 ? 1e6 : 1e4);
  config.rope_theta_sliding = keys.real("rope_local_base_freq", 1e4);
  const std::string where = keys.where() + ": rope";
  if (keys.has("rope_scaling"))
    read_rope_object(keys.at("rope_scaling"), where, config.rope_theta, config.rope_scaling);
  if (!keys.has("rope_parameters")) return;
  const Json& parameters = keys.at("rope_parameters");
  if (parameters.is_object() && parameters.contains("full_attention")) {
    std::optional<RopeScaling> local;
    read_rope_object(parameters.at("full_attention"), where, config.rope_theta, config.rope_scaling);
    if (parameters.contains("sliding_attention"))
      read_rope_object(parameters.at("sliding_attention"), where, config.rope_theta_sliding, local);
    if (local) throw input_error(where, "scaling of the sliding layers is not supported");
  } else {
    read_rope_object(parameters, where, config.rope_theta, config.rope_scaling);
  }
}

LayerKind layer_kind(const std::string& name, const std::string& where) {
  if (name == "full_attention") return LayerKind::FullAttention;
  if (name == "sliding_attention") return LayerKind::SlidingAttention;
  throw input_error(where, "layers of kind `" + printable(name) + "` are not supported",
                    "full_attention or sliding_attention");
}

bool is_sliding(const Keys& keys, int64_t layer, Family family) {
  if (keys.has("layer_types")) {
    const Json& types = keys.at("layer_types");
    if (!types.is_array() || static_cast<int64_t>(types.size()) != keys.integer("num_hidden_layers") ||
        !types[static_cast<size_t>(layer)].is_string())
      throw input_error(keys.where(), "key layer_types has another length or type", "one text a layer");
    return layer_kind(types[static_cast<size_t>(layer)], keys.where()) == LayerKind::SlidingAttention;
  }
  if (family != Family::Gemma3) return false;
  const int64_t pattern = keys.integer("sliding_window_pattern", keys.integer("_sliding_window_pattern", 6));
  return pattern > 0 && (layer + 1) % pattern != 0;
}

void read_layers(const Keys& keys, ModelConfig& config) {
  const int64_t n_layers = keys.integer("num_hidden_layers");
  if (n_layers < 1 || n_layers > 512)
    throw input_error(keys.where(), "key num_hidden_layers is impossible", "1 to 512", std::to_string(n_layers));
  const int64_t heads = keys.integer("num_attention_heads");
  if (heads < 1)
    throw input_error(keys.where(), "key num_attention_heads is impossible", "at least 1", std::to_string(heads));
  const LayerConfig layer{.kind = LayerKind::FullAttention,
                          .n_heads = heads,
                          .n_kv_heads = keys.integer("num_key_value_heads", heads),
                          .head_dim = keys.integer("head_dim", config.width / heads),
                          .ffn_width = keys.integer("intermediate_size")};
  for (int64_t i = 0; i < n_layers; ++i) {
    config.layers.push_back(layer);
    if (is_sliding(keys, i, config.family) && config.sliding_window > 0)
      config.layers.back().kind = LayerKind::SlidingAttention;
  }
  if (!keys.has("attar_layers")) return;
  const Json& uneven = keys.at("attar_layers");
  if (!uneven.is_array() || uneven.size() != config.layers.size())
    throw input_error(keys.where(), "key attar_layers has another length", std::to_string(n_layers));
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const Keys entry(uneven[i], keys.where() + ": attar_layers");
    LayerConfig& own = config.layers[i];
    own.n_heads = entry.integer("n_heads");
    own.n_kv_heads = entry.integer("n_kv_heads");
    own.head_dim = entry.integer("head_dim");
    own.ffn_width = entry.integer("ffn_width");
    own.kind = layer_kind(entry.text("kind", "full_attention"), entry.where());
  }
}

void set_rope(const ModelConfig& config, Json& json) {
  json["rope_theta"] = config.rope_theta;
  if (config.family == Family::Gemma3) json["rope_local_base_freq"] = config.rope_theta_sliding;
  if (!config.rope_scaling) return;
  const RopeScaling& s = *config.rope_scaling;
  json["rope_scaling"] = {{"rope_type", s.type}, {"factor", s.factor}};
  if (s.type == "llama3") {
    json["rope_scaling"]["low_freq_factor"] = s.low_freq_factor;
    json["rope_scaling"]["high_freq_factor"] = s.high_freq_factor;
    json["rope_scaling"]["original_max_position_embeddings"] = s.original_context_length;
  }
}

Json config_json(const ModelConfig& config, const std::string& dtype, const TokenizerData& tokenizer) {
  const FamilyTraits& family = traits(config.family);
  const LayerConfig& layer = config.layers.front();
  Json json = {{"architectures", {config.family == Family::Gemma3 ? "Gemma3ForCausalLM" : family.hf_architecture}},
               {"model_type", family.hf_model_type},
               {"vocab_size", config.vocab_size},
               {"hidden_size", config.width},
               {"num_hidden_layers", config.n_layers()},
               {"num_attention_heads", layer.n_heads},
               {"num_key_value_heads", layer.n_kv_heads},
               {"head_dim", layer.head_dim},
               {"intermediate_size", layer.ffn_width},
               {"max_position_embeddings", config.context_length},
               {"rms_norm_eps", config.norm_epsilon},
               {"tie_word_embeddings", config.tied_embeddings},
               {"attention_bias", false},
               {"attention_dropout", 0.0},
               {"torch_dtype", dtype}};
  json[config.family == Family::Gemma3 ? "hidden_activation" : "hidden_act"] =
      family.gelu ? "gelu_pytorch_tanh" : "silu";
  if (config.family == Family::Qwen2) json.erase("attention_bias");
  set_rope(config, json);
  // In transformers' gemma3 five layers of six slide where nothing is said, and there is a window though none does.
  if (config.sliding_window > 0 || config.family == Family::Gemma3) {
    json["sliding_window"] = config.sliding_window > 0 ? config.sliding_window : config.context_length;
    Json types = Json::array();
    for (const LayerConfig& own : config.layers)
      types.push_back(own.kind == LayerKind::SlidingAttention ? "sliding_attention" : "full_attention");
    json["layer_types"] = types;
  }
  if (config.family == Family::Gemma3) {
    const double scale = config.score_scale(layer);
    const double scalar = 1.0 / (scale * scale), whole = std::round(scalar);
    json["query_pre_attn_scalar"] = scalar;
    if (std::fabs(scalar - whole) < 1e-9 * whole)
      json["query_pre_attn_scalar"] = static_cast<int64_t>(whole);  // transformers wants an integer
    json["attn_logit_softcapping"] = nullptr;
    json["final_logit_softcapping"] = nullptr;
  }
  const auto id = [&](const char* key, int32_t value) { json[key] = value >= 0 ? Json(value) : Json(nullptr); };
  id("bos_token_id", tokenizer.bos), id("eos_token_id", tokenizer.eos), id("pad_token_id", tokenizer.padding);
  return json;
}

}  // namespace

ModelConfig read_hf_config(const std::string& directory) {
  const std::string path = directory + "/config.json";
  if (!path_exists(path)) throw input_error(directory, "holds no config.json", "a Hugging Face model directory");
  const std::string text = read_file(path, kConfigLimitBytes);
  check_json_object(text, path);
  const Json json = Json::parse(text);
  const Keys keys(json, path);
  if (keys.has("quantization_config"))
    throw input_error(path, "is a quantized checkpoint", "weights in F32, F16 or BF16", "quantization_config");
  ModelConfig config;
  config.family = family_of(keys).family;
  config.vocab_size = keys.integer("vocab_size");
  config.width = keys.integer("hidden_size");
  config.context_length = keys.integer("max_position_embeddings", 2048);
  config.norm_epsilon = keys.real("rms_norm_eps", 1e-6);
  config.tied_embeddings = keys.boolean("tie_word_embeddings", config.family == Family::Gemma3);
  const bool uses_window =
      config.family == Family::Gemma3 || keys.boolean("use_sliding_window", keys.text("model_type") == "mistral");
  config.sliding_window = uses_window ? keys.integer("sliding_window", 0) : 0;
  if (config.family != Family::Gemma3 && config.sliding_window > 0 && config.sliding_window < config.context_length)
    throw input_error(path, "a sliding window in this family is not supported", "sliding_window: null",
                      std::to_string(config.sliding_window),
                      "set max_position_embeddings to the window: up to there both compute the same");
  if (config.family != Family::Gemma3) config.sliding_window = 0;
  check_fixed_parts(keys, traits(config.family));
  read_layers(keys, config);
  if (std::none_of(config.layers.begin(), config.layers.end(),
                   [](const LayerConfig& layer) { return layer.kind == LayerKind::SlidingAttention; }))
    config.sliding_window = 0;  // of nothing
  read_rope(keys, config);
  if (config.family == Family::Gemma3) {
    const double scalar = keys.real("query_pre_attn_scalar", 256.0);
    if (!(scalar > 0.0))
      throw input_error(path, "key query_pre_attn_scalar is impossible", "a number above 0", std::to_string(scalar));
    if (scalar != static_cast<double>(config.layers[0].head_dim)) config.attention_scale = 1.0 / std::sqrt(scalar);
  }
  check_config(config, path);
  return config;
}

namespace {

// A YAML scalar: plain where that is safe, otherwise double-quoted as JSON is.
std::string to_yaml_scalar(const std::string& text) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '/' || c == '-'; };
  const bool word = !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) &&
                    std::all_of(text.begin(), text.end(), plain);
  return word ? text : Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The text of a scalar as the line above and the hub write it.
std::string yaml_scalar(const std::string& text) {
  if (text.empty() || text[0] != '"') return text;
  const Json quoted = Json::parse(text, nullptr, false);
  return quoted.is_string() ? quoted.get<std::string>() : text;
}

// What the folder of a model is called; of a snapshot in the hub's cache, models--ORG--NAME/snapshots/COMMIT: ORG/NAME.
std::string folder_name(const std::string& directory) {
  fs::path folder(directory);
  if (folder.filename().empty()) folder = folder.parent_path();
  const std::string cached = folder.parent_path().parent_path().filename().string();
  if (folder.parent_path().filename() != "snapshots" || !cached.starts_with("models--"))
    return folder.filename().string();
  std::string name = cached.substr(8);
  if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
  return name;
}

}  // namespace

Provenance read_hf_provenance(const std::string& directory) {
  Provenance provenance;
  provenance.name = folder_name(directory);
  const std::string card = directory + "/README.md";
  if (!path_exists(card)) return provenance;
  const std::string text = read_file(card, kConfigLimitBytes);
  if (text.rfind("---\n", 0) != 0) return provenance;
  const std::string front = text.substr(0, text.find("\n---", 4));
  const auto value = [&](const std::string& key) -> std::string {
    const size_t at = front.find("\n" + key + ": ");
    if (at == std::string::npos) return "";
    const size_t begin = at + key.size() + 3, end = front.find('\n', begin);
    return yaml_scalar(front.substr(begin, end == std::string::npos ? end : end - begin));
  };
  if (const std::string name = value("model_name"); !name.empty()) provenance.name = name;
  provenance.license = value("license");
  provenance.license_name = value("license_name");
  provenance.license_link = value("license_link");
  // `key: value`, or a line `- value` each.
  const auto list = [&](const std::string& key) {
    if (const std::string one = value(key); !one.empty()) return std::vector<std::string>{one};
    std::vector<std::string> values;
    const std::string head = "\n" + key + ":\n";
    for (size_t at = front.find(head) == std::string::npos ? front.size() : front.find(head) + head.size();
         front.compare(std::min(at, front.size()), 2, "- ") == 0;) {
      const size_t end = std::min(front.find('\n', at), front.size());
      values.push_back(yaml_scalar(front.substr(at + 2, end - at - 2)));
      at = end + 1;
    }
    return values;
  };
  provenance.base_models = list("base_model");
  provenance.languages = list("language");
  return provenance;
}

std::string hf_card_provenance(const Provenance& provenance) {
  static const std::string site = "https://huggingface.co/";
  std::string text;
  const auto line = [&](const char* key, const std::string& value) {
    if (!value.empty()) text += std::string(key) + ": " + to_yaml_scalar(value) + "\n";
  };
  line("model_name", provenance.name);
  line("license", provenance.license);
  line("license_name", provenance.license_name);
  line("license_link", provenance.license_link);
  if (!provenance.languages.empty()) text += "language:\n";
  for (const std::string& language : provenance.languages) text += "- " + to_yaml_scalar(language) + "\n";
  if (!provenance.base_models.empty()) text += "base_model:\n";
  for (const std::string& base : provenance.base_models)
    text += "- " + to_yaml_scalar(base.rfind(site, 0) == 0 ? base.substr(site.size()) : base) + "\n";
  return text;
}

std::string hf_config_json(const ModelConfig& config, const std::string& dtype, const TokenizerData& tokenizer) {
  if (!config.uniform())
    throw usage_error("export", "a Hugging Face directory cannot hold layers of different widths",
                      "the same widths in every layer", "", "export GGUF, or prune every layer alike");
  return config_json(config, dtype, tokenizer).dump(2) + "\n";
}

std::string checkpoint_config_json(const ModelConfig& config, const TokenizerData& tokenizer) {
  Json json = config_json(config, "float32", tokenizer);
  if (config.uniform()) return json.dump(2) + "\n";
  for (const LayerConfig& layer : config.layers)
    json["attar_layers"].push_back(
        {{"n_heads", layer.n_heads},
         {"n_kv_heads", layer.n_kv_heads},
         {"head_dim", layer.head_dim},
         {"ffn_width", layer.ffn_width},
         {"kind", layer.kind == LayerKind::SlidingAttention ? "sliding_attention" : "full_attention"}});
  return json.dump(2) + "\n";
}

}  // namespace attar
