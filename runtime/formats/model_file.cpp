#include "runtime/formats/model_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/formats/container/gguf.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/gguf_config.h"
#include "runtime/formats/hf_directory.h"
#include "runtime/formats/row_order.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/files/padding_token.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDecodedAtOnce = size_t{1} << 20;  // values whose stored bytes are in memory
constexpr size_t kListed = 20;                      // problems of one file that are named

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

// Everything wrong with the tensors of a file, said at once.
class TensorProblems {
 public:
  void add(const std::string& line) { lines_.push_back(line); }
  void throw_if_any(const std::string& where, size_t declared) const {
    if (lines_.empty()) return;
    std::string text =
        std::to_string(lines_.size()) + " of " + std::to_string(declared) + " tensors are not as the config says";
    for (size_t i = 0; i < std::min(lines_.size(), kListed); ++i) text += "\n  " + lines_[i];
    if (lines_.size() > kListed) text += "\n  and " + std::to_string(lines_.size() - kListed) + " more";
    throw input_error(where, text);
  }

 private:
  std::vector<std::string> lines_;
};

// openelm stores q, k and v in one matrix; rows of it are the three.
void split_fused(const GgufFile& file, const ModelConfig& config, std::map<std::string, StoredTensor>& tensors,
                 std::set<std::string>& used) {
  for (int64_t i = 0; i < config.n_layers(); ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    const GgufTensor* fused = file.find_tensor(block + "attn_qkv.weight");
    if (fused == nullptr || fused->shape.size() != 2) continue;
    const LayerConfig& layer = config.layers[static_cast<size_t>(i)];
    const int64_t q = layer.n_heads * layer.head_dim, kv = layer.n_kv_heads * layer.head_dim;
    if (fused->shape[0] != q + 2 * kv) continue;
    const auto row_bytes = static_cast<size_t>(format_of(fused->type).row_bytes(fused->shape[1]));
    const auto rows = [&](int64_t from, int64_t count) {
      return StoredTensor{
          fused->type,
          {count, fused->shape[1]},
          fused->bytes.subspan(static_cast<size_t>(from) * row_bytes, static_cast<size_t>(count) * row_bytes)};
    };
    tensors[block + "attn_q.weight"] = rows(0, q);
    tensors[block + "attn_k.weight"] = rows(q, kv);
    tensors[block + "attn_v.weight"] = rows(q + kv, kv);
    used.insert(fused->name);
  }
}

// Keys that say what the configuration, the provenance or the layout of the file says, or that it is one of several.
bool is_unread(const std::string& key, const std::string& architecture) {
  static const std::set<std::string> kGeneral = {"architecture", "type",         "name",         "author",
                                                 "size_label",   "license",      "file_type",    "quantization_version",
                                                 "alignment",    "license.link", "license.name", "languages"};
  for (const char* prefix : {"split.", "attar.", "general.base_model."})
    if (key.starts_with(prefix)) return false;
  if (key.starts_with("general.") && kGeneral.contains(key.substr(8))) return false;
  return !is_read_by_tokenizer(key) && key != architecture + ".rope.scale_linear";
}

Provenance gguf_provenance(const GgufFile& file, const std::string& path) {
  Provenance provenance;
  provenance.name = file.string("general.name", fs::path(path).stem().string());
  provenance.license = file.string("general.license", "");
  provenance.license_name = file.string("general.license.name", "");
  provenance.license_link = file.string("general.license.link", "");
  provenance.author = file.string("general.author", "");
  if (const GgufValue* languages = file.find("general.languages")) provenance.languages = languages->strings;
  for (int64_t i = 0; i < std::min<int64_t>(16, file.integer("general.base_model.count", 0)); ++i) {
    const std::string base = "general.base_model." + std::to_string(i);
    provenance.base_models.push_back(file.string(base + ".repo_url", file.string(base + ".name", "")));
  }
  return provenance;
}

ModelFile::Parts read_gguf(GgufFile file) {
  ModelFile::Parts parts;
  parts.source = file.path();
  parts.config = read_gguf_config(file);
  parts.layout = Layout::Gguf;
  parts.interleaved_rope = gguf_interleaves_rope(file);
  parts.provenance = gguf_provenance(file, file.path());
  for (const GgufEntry& entry : file.entries())
    if (is_unread(entry.key, file.string("general.architecture"))) parts.unread.push_back(entry);
  const int64_t window = parts.config.sliding_window;
  if (parts.config.family != Family::Gemma3 && window > 0 && window < parts.config.context_length)
    parts.notes.push_back("the file names a sliding window of " + std::to_string(window) +
                          " tokens, which llama.cpp and Attar do not apply in this architecture");
  parts.size_bytes = file.size_bytes();

  std::set<std::string> used{"rope_freqs.weight"};
  split_fused(file, parts.config, parts.tensors, used);
  for (const GgufTensor& tensor : file.tensors()) {
    if (used.contains(tensor.name)) continue;
    parts.tensors[tensor.name] = {tensor.type, tensor.shape, tensor.bytes};
  }
  parts.tokenizer = read_gguf_tokenizer(std::move(file));
  return parts;
}

const std::string kPrefix = "model.";
const std::string kHead = "lm_head.weight";

// The inner model, saved without what wraps it.
bool has_no_prefix(const std::vector<SafetensorsFile>& files) {
  return std::none_of(files.begin(), files.end(), [](const SafetensorsFile& file) {
    return std::any_of(file.tensors().begin(), file.tensors().end(),
                       [](const SafeTensor& tensor) { return tensor.name.starts_with(kPrefix); });
  });
}

bool same_values(const StoredTensor& a, const StoredTensor& b) {
  if (a.shape != b.shape) return false;
  const QuantFormat &format_a = format_of(a.type), &format_b = format_of(b.type);
  const auto a_bytes = static_cast<size_t>(format_a.block_bytes), b_bytes = static_cast<size_t>(format_b.block_bytes);
  const size_t count = a.bytes.size() / a_bytes;
  if (b.bytes.size() / b_bytes != count) return false;
  constexpr size_t kChunk = size_t{1} << 16;
  std::vector<std::byte> buffer_a, buffer_b;
  std::vector<float> values_a(kChunk), values_b(kChunk);
  for (size_t at = 0; at < count; at += kChunk) {
    const size_t n = std::min(kChunk, count - at);
    const auto part_a = a.bytes.subspan(at * a_bytes, n * a_bytes).read(buffer_a);
    const auto part_b = b.bytes.subspan(at * b_bytes, n * b_bytes).read(buffer_b);
    if (a.type == b.type && std::ranges::equal(part_a, part_b)) continue;
    if (a.type == b.type) return false;
    format_a.decode(part_a.data(), static_cast<int64_t>(n), values_a.data());
    format_b.decode(part_b.data(), static_cast<int64_t>(n), values_b.data());
    if (!std::equal(values_a.data(), values_a.data() + n, values_b.data())) return false;
  }
  return true;
}

// A config that ties the head to the embedding, beside a file that may hold both or the head alone.
void settle_head(ModelFile::Parts& parts) {
  const std::string head = tensor_name(-1, Role::Output), embedding = tensor_name(-1, Role::Embedding);
  const auto stored = parts.tensors.find(head);
  if (!parts.config.tied_embeddings || stored == parts.tensors.end()) return;
  const auto [own, only_head] = parts.tensors.try_emplace(embedding, stored->second);
  if (only_head || same_values(own->second, stored->second)) {
    parts.tensors.erase(stored);
    return;
  }
  parts.config.tied_embeddings = false;
  parts.notes.push_back("config.json ties the head to the embedding, but " + kHead +
                        " is another matrix: it is used, and the two are not tied");
}

ModelFile::Parts read_hf(const std::string& directory) {
  ModelFile::Parts parts;
  parts.config = read_hf_config(directory);
  parts.tokenizer = read_hf_tokenizer(directory);
  parts.layout = Layout::HuggingFace;
  parts.provenance = read_hf_provenance(directory);
  const std::vector<SafetensorsFile> files = SafetensorsFile::open_directory(directory);
  std::map<std::string, std::string> names;
  const bool prefixless = has_no_prefix(files);
  for (const TensorSpec& spec : tensor_specs(parts.config))
    names[prefixless && spec.hf_name.starts_with(kPrefix) ? spec.hf_name.substr(kPrefix.size()) : spec.hf_name] =
        spec.name;
  names[kHead] = tensor_name(-1, Role::Output);
  for (const SafetensorsFile& file : files) {
    parts.size_bytes += fs::file_size(file.path());
    for (const SafeTensor& tensor : file.tensors()) {
      if (is_buffer(tensor)) continue;
      const auto known = names.find(tensor.name);
      parts.tensors[known == names.end() ? tensor.name : known->second] = {tensor.type, tensor.shape, tensor.bytes};
    }
  }
  settle_head(parts);
  return parts;
}

void check_special_ids(const TokenizerData& tokenizer, const std::string& where) {
  const auto size = static_cast<int64_t>(tokenizer.tokens.size());
  for (const int32_t id : special_ids(tokenizer))
    if (id >= size)
      throw input_error(where, "the tokenizer has a special token outside its vocabulary",
                        "an id below " + std::to_string(size), std::to_string(id));
}

void check_parts(const ModelFile::Parts& parts) {
  check_config(parts.config, parts.source);
  const std::vector<TensorSpec> specs = tensor_specs(parts.config);
  TensorProblems problems;
  std::set<std::string> declared;
  for (const TensorSpec& spec : specs) {
    declared.insert(spec.name);
    const auto found = parts.tensors.find(spec.name);
    if (found == parts.tensors.end()) {
      problems.add("missing  " + spec.name + "   expected " + shape_text(spec.shape));
      continue;
    }
    const StoredTensor& tensor = found->second;
    const QuantFormat& format = format_of(tensor.type);
    if (!format.holds_weights())
      problems.add("type     " + spec.name + "   holds weights as " + format.name);
    else if (tensor.shape != spec.shape)
      problems.add("shape    " + spec.name + "   expected " + shape_text(spec.shape) + ", got " +
                   shape_text(tensor.shape));
    else if (tensor.bytes.size() != static_cast<size_t>(spec.elements() / format.block_size * format.block_bytes))
      problems.add("size     " + spec.name);
  }
  for (const auto& [name, tensor] : parts.tensors)
    if (!declared.contains(name)) problems.add("unknown  " + printable(name) + "   " + shape_text(tensor.shape));
  problems.throw_if_any(parts.source, specs.size());
  if (static_cast<int64_t>(parts.tokenizer.tokens.size()) != parts.config.vocab_size)
    throw input_error(parts.source, "the tokenizer does not fit the embedding",
                      std::to_string(parts.config.vocab_size) + " tokens",
                      std::to_string(parts.tokenizer.tokens.size()));
  check_special_ids(parts.tokenizer, parts.source);
}

// The heads whose rows RoPE pairs: those of q and k and their biases; 0 for other tensors.
int64_t rotated_heads(const TensorSpec& spec, const ModelConfig& config) {
  const bool query = spec.role == Role::Query || spec.role == Role::QueryBias;
  if (!query && spec.role != Role::Key && spec.role != Role::KeyBias) return 0;
  const LayerConfig& layer = config.layers[static_cast<size_t>(spec.layer)];
  return query ? layer.n_heads : layer.n_kv_heads;
}

// ORG/NAME, as the hub calls models, where no such folder is.
bool names_hub(const std::string& model) {
  const fs::path path(model);
  std::error_code code;
  const bool two = std::distance(path.begin(), path.end()) == 2 && !path.is_absolute() && model[0] != '.';
  return two && !model.starts_with("hf:") && path.extension() != ".gguf" && !path.filename().empty() &&
         !fs::exists(path.parent_path(), code);
}

// A path that nothing lies at, or that may not be looked at.
void require_there(const std::string& model, const std::string& path) {
  if (path_exists(path)) return;
  if (model.empty()) throw input_error("the model", "has no name");
  if (errno == EACCES)
    throw input_error(printable(model, 4096), std::string("cannot be opened: ") + std::strerror(EACCES));
  throw input_error(
      printable(model, 4096), "does not exist",
      "a GGUF file, a Hugging Face directory, pip:PACKAGE, or in attar hf:ORG/NAME", "",
      names_hub(model) ? "attar gets it from the Hugging Face hub as hf:" + printable(model) : nearest_path(path));
}

ModelFile::Parts with_tokenizer_notes(ModelFile::Parts parts) {
  parts.notes.insert(parts.notes.end(), parts.tokenizer.notes.begin(), parts.tokenizer.notes.end());
  return parts;
}

}  // namespace

ModelFile::ModelFile(Parts parts) {
  check_parts(parts);
  tokenizer_ = std::make_shared<const TokenizerData>(std::exchange(parts.tokenizer, {}));
  parts_ = std::make_shared<const Parts>(std::move(parts));
}

ModelFile ModelFile::open(const std::string& model, const ModelSource& hub) {
  const FloatEnvironment floats;  // decimals are rounded by it
  const std::string path = resolve_model_path(model, hub);
  require_there(model, path);
  Parts parts = fs::is_directory(path) ? read_hf(path) : read_gguf(GgufFile::open(path));
  parts.source = model;
  // Rows of the embedding beyond the tokenizer are padding that converters name [PADn].
  for (size_t n = parts.tokenizer.tokens.size();
       fs::is_directory(path) && n > 0 && n < static_cast<size_t>(parts.config.vocab_size); ++n)
    parts.tokenizer.tokens.push_back(padding_token(n));
  return ModelFile(with_tokenizer_notes(std::move(parts)));
}

ModelFile ModelFile::open(InputFile gguf) {
  const FloatEnvironment floats;
  return ModelFile(with_tokenizer_notes(read_gguf(GgufFile::open(std::move(gguf)))));
}

bool ModelFile::interleaved_rope() const {
  const bool uneven_qwen2 = config().family == Family::Qwen2 && !config().uniform();  // architecture deci
  return parts_->interleaved_rope.value_or(layout() == Layout::Gguf &&
                                           (traits(config().family).gguf_interleaved_rope || uneven_qwen2));
}

const StoredTensor& ModelFile::tensor(const std::string& name) const {
  return parts_->tensors.at(name);
}

std::vector<float> ModelFile::values(const TensorSpec& spec) const {
  std::vector<float> values(static_cast<size_t>(spec.elements()));
  const auto row = static_cast<size_t>(spec.shape.back()), rows = values.size() / row,
             part = std::max<size_t>(1, kDecodedAtOnce / row);
  for (size_t first = 0; first < rows; first += part)
    read_rows(spec, static_cast<int64_t>(first),
              std::span(values).subspan(first * row, std::min(part, rows - first) * row));
  return values;
}

void ModelFile::read_rows(const TensorSpec& spec, int64_t first, std::span<float> into) const {
  const StoredTensor& stored = tensor(spec.name);
  const QuantFormat& format = format_of(stored.type);
  const int64_t columns = spec.shape.back(), row_bytes = format.row_bytes(columns);
  std::vector<std::byte> buffer;
  const auto decode = [&](int64_t from, std::span<float> out) {  // rows as they are stored
    const auto n_blocks = static_cast<int64_t>(out.size()) / format.block_size;
    const LazyBytes bytes =
        stored.bytes.subspan(static_cast<size_t>(from * row_bytes), static_cast<size_t>(n_blocks * format.block_bytes));
    format.decode(bytes.read(buffer).data(), n_blocks, out.data());
  };
  const bool gguf = layout() != Layout::HuggingFace;
  const int64_t n_heads = gguf && interleaved_rope() ? rotated_heads(spec, config()) : 0;
  if (n_heads == 0) {
    decode(first, into);
  } else if (!spec.is_matrix()) {
    std::vector<float> stored_values(into.size());
    decode(0, stored_values);
    const std::vector<std::byte> halves =
        reordered_rows(std::as_bytes(std::span(stored_values)), n_heads, spec.shape[0] / n_heads, RowOrder::Halves);
    std::memcpy(into.data(), halves.data(), halves.size());
  } else {
    const int64_t head_dim = spec.shape[0] / n_heads;
    for (auto row = into.begin(); row != into.end(); row += columns, ++first)
      decode(gguf_row_of_hf_row(first, head_dim), std::span(row, static_cast<size_t>(columns)));
  }
  if (gguf && traits(config().family).norm_plus_one && is_norm(spec.role))
    for (float& value : into) value -= 1.0f;
}

std::vector<std::byte> ModelFile::rows(const TensorSpec& spec) const {
  std::vector<std::byte> buffer;
  const std::span<const std::byte> bytes = tensor(spec.name).bytes.read(buffer);
  const int64_t n_heads = interleaved_rope() ? rotated_heads(spec, config()) : 0;
  if (n_heads > 0) return reordered_rows(bytes, n_heads, spec.shape[0] / n_heads, RowOrder::Halves);
  return {bytes.begin(), bytes.end()};
}

std::string config_text(const ModelConfig& config) {
  std::string text;
  const auto add = [&](double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.17g;", value);
    text += digits;
  };
  text += traits(config.family).name;
  for (const double value : {config.norm_epsilon, config.rope_theta, config.rope_theta_sliding, config.attention_scale})
    add(value);
  for (const int64_t value :
       {config.vocab_size, config.width, config.context_length, config.sliding_window, int64_t{config.tied_embeddings}})
    text += std::to_string(value) + ";";
  for (const LayerConfig& layer : config.layers) {
    text += layer.kind == LayerKind::SlidingAttention ? "sliding;" : "full;";
    for (const int64_t value : {layer.n_heads, layer.n_kv_heads, layer.head_dim, layer.ffn_width})
      text += std::to_string(value) + ";";
  }
  if (config.kv == KvFormat::Int8) text += "int8;";  // as deployed numbers are computed
  for (const float scale : config.key_scales) add(static_cast<double>(scale));
  if (!config.rope_scaling) return text;
  text += config.rope_scaling->type + ";" + std::to_string(config.rope_scaling->original_context_length) + ";";
  for (const double value :
       {config.rope_scaling->factor, config.rope_scaling->low_freq_factor, config.rope_scaling->high_freq_factor})
    add(value);
  return text;
}

std::string ModelFile::content_hash() const {
  Sha256 hash;
  hash.add(config_text(config())).add(Tokenizer(tokenizer(), source()).hash());
  for (const TensorSpec& spec : tensor_specs(config())) {
    const StoredTensor& stored = tensor(spec.name);
    hash.add(spec.name).add(format_of(stored.type).name).add(shape_text(stored.shape)).add(rows(spec));
  }
  return hash.hex();
}

double ModelFile::bits_per_weight() const {
  return 8.0 * static_cast<double>(size_bytes()) / static_cast<double>(config().parameter_count());
}

}  // namespace attar
