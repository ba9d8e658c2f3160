// Writes GGUF from a quantized model in memory or from a stored one. Whole rows are moved, so quantized rows are
// permuted without being decoded.
#include <algorithm>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "compress/weight_source.h"
#include "export/export.h"
#include "export/gguf_layout.h"
#include "export/watched_bytes.h"
#include "runtime/base/checked.h"
#include "runtime/base/error.h"
#include "runtime/base/lazy_bytes.h"
#include "runtime/formats/gguf_config.h"
#include "runtime/formats/row_order.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"

namespace attar {
namespace {

constexpr uint64_t kAlignment = 32;

struct StoredBytes {
  TensorType type;
  LazyBytes bytes;
};

// Where the tensors come from, and what is not yet as GGUF wants it.
struct Source {
  const ModelConfig& config;
  bool interleaved_rope;  // q and k rows pair neighbours already
  bool norms_plus_one;    // gemma3's norms are 1 + w already
  std::function<StoredBytes(const TensorSpec&)> tensor;
  std::optional<int64_t> file_type{};  // general.file_type; without it the type of most weights
};

// Tags that the file had stand behind Attar's; keys that are there already, and those of another architecture, do not.
void add_unread(const std::vector<GgufEntry>& unread, std::vector<GgufEntry>& entries) {
  const auto find = [&](const std::string& key) {
    return std::find_if(entries.begin(), entries.end(), [&](const GgufEntry& entry) { return entry.key == key; });
  };
  const std::string architecture = find("general.architecture")->value.strings[0];
  for (const GgufEntry& entry : unread) {
    const std::string prefix = entry.key.substr(0, entry.key.find('.'));
    const auto there = find(entry.key);
    if (there != entries.end() && entry.key == "general.tags") {
      std::vector<std::string>& tags = there->value.strings;
      for (const std::string& tag : entry.value.strings)
        if (std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.push_back(tag);
    }
    if (there != entries.end() || (is_gguf_architecture(prefix) && prefix != architecture)) continue;
    entries.push_back(entry);
  }
}

// The tensors of one file in listing order; buffers hold what had to be changed.
class TensorList {
 public:
  TensorList(const Source& source, const GgufLayout& layout) : source_(source), layout_(layout) {
    const std::vector<float> factors = gguf_rope_factors(source.config);
    for (const TensorSpec& spec : tensor_specs(source.config)) {
      if (spec.role == Role::AttentionNorm && spec.layer == 0 && !factors.empty())
        tensors_.push_back(
            {"rope_freqs.weight", TensorType::F32, {static_cast<int64_t>(factors.size())}, kept(factors)});
      if (layout.fused_qkv && (spec.role == Role::Key || spec.role == Role::Value)) continue;  // part of the query's
      if (layout.fused_qkv && spec.role == Role::Query)
        add_fused(spec);
      else
        tensors_.push_back(converted(spec));
    }
  }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

 private:
  std::span<const std::byte> kept(std::vector<std::byte> bytes) { return buffers_.emplace_back(std::move(bytes)); }
  std::span<const std::byte> kept(const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return kept(std::vector<std::byte>(bytes.begin(), bytes.end()));
  }

  GgufTensor converted(const TensorSpec& spec) {
    const StoredBytes stored = source_.tensor(spec);
    GgufTensor tensor{spec.name, stored.type, spec.shape, stored.bytes};
    if (!spec.is_matrix() || stored.type == TensorType::F64) tensor = as_f32(spec, tensor);
    const bool query = spec.role == Role::Query || spec.role == Role::QueryBias;
    const bool key = spec.role == Role::Key || spec.role == Role::KeyBias;
    if ((query || key) && source_.interleaved_rope != layout_.interleaved_rope) {
      std::vector<std::byte> buffer;
      const LayerConfig& layer = source_.config.layers[static_cast<size_t>(spec.layer)];
      tensor.bytes =
          kept(reordered_rows(tensor.bytes.read(buffer), query ? layer.n_heads : layer.n_kv_heads, layer.head_dim,
                              layout_.interleaved_rope ? RowOrder::Neighbours : RowOrder::Halves));
    }
    return tensor;
  }

  // Vectors are F32 in GGUF; norms as the architecture multiplies by them.
  GgufTensor as_f32(const TensorSpec& spec, const GgufTensor& stored) {
    const bool shift = traits(source_.config.family).norm_plus_one && is_norm(spec.role) && !source_.norms_plus_one;
    const double factor = spec.role == Role::QueryNorm ? layout_.query_norm_factor : 1.0;
    if (stored.type == TensorType::F32 && !shift && factor == 1.0) return stored;
    std::vector<float> values(static_cast<size_t>(spec.elements()));
    const QuantFormat& format = format_of(stored.type);
    std::vector<std::byte> buffer;
    format.decode(stored.bytes.read(buffer).data(), spec.elements() / format.block_size, values.data());
    for (float& value : values) {
      if (shift) value += 1.0f;
      if (factor != 1.0) value = static_cast<float>(static_cast<double>(value) * factor);
    }
    return {spec.name, TensorType::F32, spec.shape, kept(values)};
  }

  void add_fused(const TensorSpec& query) {
    const std::string block = "blk." + std::to_string(query.layer) + ".";
    std::vector<std::byte> rows, buffer;
    std::vector<int64_t> shape{0, query.shape[1]};
    const TensorType type = source_.tensor(query).type;
    for (const TensorSpec& spec : tensor_specs(source_.config)) {
      if (spec.layer != query.layer || (spec.role != Role::Query && spec.role != Role::Key && spec.role != Role::Value))
        continue;
      const GgufTensor part = converted(spec);
      if (part.type != type)
        throw usage_error(
            "GGUF export",
            "architecture `" + layout_.architecture + "` stores query, key and value of a layer as one tensor",
            std::string("one type for the three, such as ") + format_of(type).name,
            std::string(format_of(part.type).name) + " in " + spec.name, "keep query, key and value at the same type");
      const std::span<const std::byte> bytes = part.bytes.read(buffer);
      rows.insert(rows.end(), bytes.begin(), bytes.end());
      shape[0] += spec.shape[0];
    }
    tensors_.push_back({block + "attn_qkv.weight", type, shape, kept(std::move(rows))});
  }

  const Source& source_;
  const GgufLayout& layout_;
  std::vector<GgufTensor> tensors_;
  std::deque<std::vector<std::byte>> buffers_;
};

// The type of most weights in the layers' matrices.
TensorType main_type(const Source& source) {
  std::map<TensorType, int64_t> weights;
  for (const TensorSpec& spec : tensor_specs(source.config))
    if (spec.is_matrix() && spec.layer >= 0) weights[source.tensor(spec).type] += spec.elements();
  return std::max_element(weights.begin(), weights.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// `unread`: keys of the file that is repacked.
GgufExport write(const std::string& path, const Source& source, const TokenizerData& tokenizer, const ExportInfo& info,
                 const std::vector<GgufEntry>& unread, const Progress& progress) {
  check_tokenizer(tokenizer, path);
  const GgufLayout layout = gguf_layout(source.config);
  const TensorList list(source, layout);
  std::vector<GgufEntry> entries = gguf_metadata(source.config, layout, tokenizer, info,
                                                 source.file_type.value_or(gguf_file_type(main_type(source))));
  add_unread(unread, entries);
  GgufExport out;
  out.architecture = layout.architecture, out.notes = layout.notes;
  for (std::string& note : gguf_tokenizer_notes(tokenizer)) out.notes.push_back(std::move(note));
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : list.tensors()) bytes += tensor.bytes.size();
  out.files = write_gguf_split(path, entries, list.tensors(), info.split_bytes, watched_bytes(progress, bytes));
  for (const std::string& file : out.files) out.size_bytes += std::filesystem::file_size(file);
  return out;
}

uint64_t padded(uint64_t bytes) {
  return round_up(bytes, kAlignment, "GGUF");
}

}  // namespace

GgufExport export_gguf(const std::string& path, const QuantizedModel& model, const TokenizerData& tokenizer,
                       const ExportInfo& info, const Progress& progress) {
  const Source source{model.config, false, false,
                      [&](const TensorSpec& spec) {
                        const QuantizedTensor& tensor = model.tensors.at(spec.name);
                        return StoredBytes{tensor.type, tensor.bytes};
                      },
                      model.plan.file_type};
  return write(path, source, tokenizer, info, {}, progress);
}

GgufExport repack_gguf(const std::string& path, const ModelFile& model, const ExportInfo& info,
                       const Progress& progress) {
  WeightSource(model).require_finite(1);
  const Source source{model.config(), model.interleaved_rope(), model.layout() == Layout::Gguf,
                      [&](const TensorSpec& spec) {
                        const StoredTensor& tensor = model.tensor(spec.name);
                        return StoredBytes{tensor.type, tensor.bytes};
                      }};
  return write(path, source, model.tokenizer(), info, model.unread(), progress);
}

PlanTarget gguf_plan_target(const ModelConfig& config, const TokenizerData& tokenizer, const ExportInfo& info) {
  const GgufLayout layout = gguf_layout(config);
  uint64_t bytes = gguf_header_bytes(gguf_metadata(config, layout, tokenizer, info, 0));
  const size_t factors = gguf_rope_factors(config).size();
  if (factors > 0) bytes += gguf_tensor_info_bytes("rope_freqs.weight", 1);
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (layout.fused_qkv && (spec.role == Role::Key || spec.role == Role::Value)) continue;
    const bool fused = layout.fused_qkv && spec.role == Role::Query;
    bytes += gguf_tensor_info_bytes(fused ? "blk." + std::to_string(spec.layer) + ".attn_qkv.weight" : spec.name,
                                    spec.shape.size());
  }
  return {padded(bytes) + padded(factors * sizeof(float)), layout.fused_qkv};
}

}  // namespace attar
