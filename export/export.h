// Artefacts: a GGUF that other runtimes load, a Hugging Face directory, a model card, a manifest of SHA-256. A caller
// who stops one between two tensors (Error{Interrupted}) finds what was there before.
#pragma once

#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "quantize/quantize.h"
#include "runtime/base/progress.h"
#include "runtime/formats/container/gguf.h"

namespace attar {

struct ExportInfo {
  Provenance provenance;
  std::string recipe_name;  // "" outside a recipe
  std::string attar_version;
  std::vector<std::string> notes;  // for the model card
  uint64_t split_bytes = 0;        // most bytes of one GGUF file, which larger models take several of; 0: one file
};

struct GgufExport {
  std::string architecture;        // llama, ..., or deci / openelm for uneven layers
  std::vector<std::string> notes;  // fallbacks and what other runtimes cannot do
  std::vector<std::string> files;  // the one that was asked for, or NAME-00001-of-0000N.gguf and so on
  uint64_t size_bytes = 0;         // of all files
};

// Rows are permuted as the architecture wants, norms shifted, metadata written. Error{Usage} with the reason when no
// architecture can hold the model (uneven gemma3).
GgufExport export_gguf(const std::string& path, const QuantizedModel& model, const TokenizerData& tokenizer,
                       const ExportInfo& info, const Progress& progress = {});

// What a GGUF of this model asks of its plan. Error{Usage} when no architecture can hold the model.
PlanTarget gguf_plan_target(const ModelConfig& config, const TokenizerData& tokenizer, const ExportInfo& info);

// README.md beside the GGUF: what it is, with info.notes (fallbacks, say).
void write_gguf_card(const std::string& gguf, const QuantizedModel& model, const ExportInfo& info,
                     const Progress& progress = {});

// Repacks a stored model, block by block as it is; values are looked at only to be sure that they are numbers.
GgufExport repack_gguf(const std::string& path, const ModelFile& model, const ExportInfo& info,
                       const Progress& progress = {});

// The student before quantization (or the codes' values), loadable by AutoModelForCausalLM. dtype "float32",
// "bfloat16".
void export_hf(const std::string& directory, const CausalLM& model, const TokenizerData& tokenizer,
               const ExportInfo& info, const std::string& dtype, const Progress& progress = {});

// The codes themselves, in the form of the compressed-tensors library ("pack-quantized"), which AutoModelForCausalLM
// loads where it is installed: linears as integers of 4 or 8 bits with a scale for 16 or 32 of them, everything else as
// float32. Error{Usage} for linears whose codes are no whole numbers times a scale (minimums, F16); Error{Input} naming
// the tensor for scales and values that are not finite.
void export_compressed_tensors(const std::string& directory, const QuantizedModel& model,
                               const TokenizerData& tokenizer, const ExportInfo& info, const Progress& progress = {});

// What both say nothing of, in words: keys and values in int8, and the scales of keys. "": there is nothing to say.
std::string kv_note(const ModelConfig& config);

// A stored model as it is, codes and all.
QuantizedModel stored_codes(const ModelFile& model);

// The codes' values as a model again.
CausalLM dequantized(const QuantizedModel& model);

// DIR/manifest.json: {"schema_version", "files": {name: {"sha256", "bytes"}}}, over every file below DIR.
void write_manifest(const std::string& directory, const Progress& progress = {});

}  // namespace attar
