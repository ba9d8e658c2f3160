#include "export/model_card.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "export/watched_bytes.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/hf_directory.h"

namespace attar {
namespace {

// One line of prose: a file's text cannot start a heading or a table row of its own.
std::string prose(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\n' || c == '\r' || c == '|' ? ' ' : c;
  return out;
}

std::string front_matter(const ExportInfo& info, CardFormat format) {
  const bool gguf = format == CardFormat::Gguf;
  std::string text = "---\n" + hf_card_provenance(info.provenance);
  if (!info.provenance.base_models.empty())
    text +=
        std::string("base_model_relation: ") + (format == CardFormat::HuggingFace ? "finetune" : "quantized") + "\n";
  if (!gguf) text += "library_name: transformers\n";
  return text + "pipeline_tag: text-generation\ntags:\n- attar\n" + (gguf ? "- gguf\n" : "") +
         "- text-generation\n---\n";
}

// How to start the model.
std::string usage(const CardFacts& facts) {
  if (facts.format == CardFormat::Gguf)
    return "\n```sh\nattar-run chat " + facts.weights_file + "\nllama-cli -m " + facts.weights_file + "\n```\n";
  const std::string wants = facts.format == CardFormat::CompressedTensors ? "# pip install compressed-tensors\n" : "";
  return "\n```python\n" + wants +
         "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
         "model = AutoModelForCausalLM.from_pretrained(\".\")\ntokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n";
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
  std::string text = front_matter(info, facts.format);
  const auto row = [&](const std::string& name, const std::string& value) {
    text += "| " + name + " | " + prose(value) + " |\n";
  };
  text += "\n# " + prose(from.name.empty() ? "model" : from.name) + "\n\nMade with Attar" +
          (info.attar_version.empty() ? "" : " " + prose(info.attar_version)) +
          (info.recipe_name.empty() ? "" : ", recipe `" + prose(info.recipe_name) + "`") + ".";
  if (!from.base_models.empty()) {
    text += " It comes from";
    for (size_t i = 0; i < from.base_models.size(); ++i) text += (i == 0 ? " " : ", ") + prose(from.base_models[i]);
    text += from.license.empty() ? "."
                                 : " and keeps its licence (" +
                                       prose(from.license_name.empty() ? from.license : from.license_name) + ").";
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
  row("weights", facts.types + ", " + std::to_string(facts.weights_bytes) + " bytes in `" + facts.weights_file + "`");
  row("SHA-256 of the weights", facts.weights_sha256);
  text += usage(facts);
  if (!info.notes.empty()) text += "\n## Notes\n\n";
  for (const std::string& note : info.notes) text += "- " + prose(note) + "\n";
  return text;
}

void write_gguf_card(const std::string& gguf, const QuantizedModel& model, const ExportInfo& info,
                     const Progress& progress) {
  const std::filesystem::path path(gguf);
  const uint64_t bytes = std::filesystem::file_size(path);
  const CardFacts facts{CardFormat::Gguf, model.plan.name, path.filename().string(),
                        sha256_of_file(gguf, watched_bytes(progress, bytes)), bytes};
  write_file_atomically((path.parent_path() / "README.md").string(), model_card(model.config, info, facts));
}

}  // namespace attar
