#include "export/model_card.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <vector>

namespace attar {
namespace {

// A YAML scalar: plain where that is safe, otherwise double-quoted as JSON is.
std::string scalar(const std::string& text) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '/' || c == '-'; };
  const bool word = !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) &&
                    std::all_of(text.begin(), text.end(), plain);
  return word ? text : nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// One line of prose: a file's text cannot start a heading or a table row of its own.
std::string prose(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\n' || c == '\r' || c == '|' ? ' ' : c;
  return out;
}

std::string repository(const std::string& base) {
  static const std::string site = "https://huggingface.co/";
  return base.rfind(site, 0) == 0 ? base.substr(site.size()) : base;
}

std::string front_matter(const ExportInfo& info) {
  const Provenance& from = info.provenance;
  std::string text = "---\n";
  if (!from.name.empty()) text += "model_name: " + scalar(from.name) + "\n";
  if (!from.license.empty()) text += "license: " + scalar(from.license) + "\n";
  if (!from.license_link.empty()) text += "license_link: " + scalar(from.license_link) + "\n";
  if (!from.base_models.empty()) {
    text += "base_model:\n";
    for (const std::string& base : from.base_models) text += "- " + scalar(repository(base)) + "\n";
    text += "base_model_relation: finetune\n";
  }
  return text + "library_name: transformers\npipeline_tag: text-generation\ntags:\n- attar\n- text-generation\n---\n";
}

std::string range(const ModelConfig& config, int64_t LayerConfig::*field) {
  const auto [least, most] =
      std::minmax_element(config.layers.begin(), config.layers.end(),
                          [&](const LayerConfig& a, const LayerConfig& b) { return a.*field < b.*field; });
  const std::string low = std::to_string((*least).*field), high = std::to_string((*most).*field);
  return low == high ? low : low + " to " + high;
}

}  // namespace

std::string model_card(const ModelConfig& config, const ExportInfo& info, const CardFacts& facts) {
  const Provenance& from = info.provenance;
  std::string text = front_matter(info);
  const auto row = [&](const std::string& name, const std::string& value) {
    text += "| " + name + " | " + prose(value) + " |\n";
  };
  text += "\n# " + prose(from.name.empty() ? "model" : from.name) + "\n\nMade with Attar" +
          (info.attar_version.empty() ? "" : " " + prose(info.attar_version)) +
          (info.recipe_name.empty() ? "" : ", recipe `" + prose(info.recipe_name) + "`") + ".";
  if (!from.base_models.empty()) {
    text += " It comes from";
    for (size_t i = 0; i < from.base_models.size(); ++i) text += (i == 0 ? " " : ", ") + prose(from.base_models[i]);
    text += from.license.empty() ? "." : " and keeps its licence (" + prose(from.license) + ").";
  }
  text += "\n\n| | |\n| --- | --- |\n";
  row("family", traits(config.family).name);
  row("parameters", std::to_string(config.parameter_count()));
  row("layers, width", std::to_string(config.n_layers()) + ", " + std::to_string(config.width));
  row("heads, key/value heads, head width", range(config, &LayerConfig::n_heads) + ", " +
                                                range(config, &LayerConfig::n_kv_heads) + ", " +
                                                range(config, &LayerConfig::head_dim));
  row("feed-forward width", range(config, &LayerConfig::ffn_width));
  row("vocabulary, context", std::to_string(config.vocab_size) + ", " + std::to_string(config.context_length));
  row("weights", facts.dtype + ", " + std::to_string(facts.weights_bytes) + " bytes in `" + facts.weights_file + "`");
  row("SHA-256 of the weights", facts.weights_sha256);
  text +=
      "\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
      "model = AutoModelForCausalLM.from_pretrained(\".\")\ntokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n";
  if (!info.notes.empty()) text += "\n## Notes\n\n";
  for (const std::string& note : info.notes) text += "- " + prose(note) + "\n";
  return text;
}

}  // namespace attar
