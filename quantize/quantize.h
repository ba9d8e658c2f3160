// Post-training quantization: a plan of tensor types by role, weighted scale search with importance from the block
// walk, and every fallback reported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"
#include "compress/weight_source.h"
#include "quantize/block_learning.h"
#include "quantize/qad_options.h"
#include "runtime/base/field_rules.h"
#include "runtime/base/fields.h"
#include "runtime/base/progress.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

class KeptCodes;

// What `to` may be.
inline constexpr const char* kWrittenTypes =
    "a tensor type, which every matrix gets that can hold it: Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, IQ4_NL, "
    "IQ4_XS, NVFP4, MXFP4, Q3_K, IQ3_S, IQ3_XXS, Q2_K, IQ2_S, IQ2_XS, IQ2_XXS, Q2_0, TQ2_0, TQ1_0, IQ1_M, IQ1_S, Q1_0, "
    "F16, BF16 or F32; or a preset of llama.cpp, whose plan is reproduced: Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, Q3_K_L, "
    "Q3_K_M, Q3_K_S, IQ3_M, IQ3_XS, IQ2_M, Q2_K_S, MXFP4_MOE, or one that is named like a type, after MOSTLY_: "
    "MOSTLY_Q4_0, MOSTLY_Q2_K, ...";

struct QuantizeOptions {
  std::optional<std::string> to;            // a tensor type or a llama.cpp preset
  std::optional<std::string> target_size;   // "60MB", "58 MiB": of the whole GGUF file
  std::optional<double> target_bpw;         // bits of the whole file a weight
  std::optional<double> max_kl;             // nats a token
  std::map<std::string, std::string> keep;  // role -> type
  std::optional<std::string> kv{};          // f16, int8
  std::string compat = "2026";
  bool lattice = false;
  bool fallback = true;
  std::string preset = "best";
  bool importance = true;
  int64_t calibration_tokens = 0;
  int64_t block_steps = 0;
  QadOptions qad{};
};
template <class Visitor>
void visit_fields(QuantizeOptions& o, Visitor&& field) {
  field(o.to, "to", kWrittenTypes);
  field(o.target_size, "target_size",
        "largest size of the whole file, such as 60MB; each tensor gets the type that loses least in all");
  field(o.target_bpw, "target_bpw", "the same as bits of the whole file a weight, such as 4.5");
  field(o.max_kl, "max_kl",
        "smallest file whose predicted KL divergence from the model, in nats a token, is at most this; needs text");
  field(o.keep, "keep",
        "types by role, such as embedding=Q8_0; roles: embedding, output, query, key, value, attention_output, "
        "gate, up, down");
  field(o.kv, "kv",
        "keys and values as Attar's runtime keeps them: int8 (half the memory) or f16; without it as the model's file "
        "says");
  field(o.compat, "compat",
        "year of the llama.cpp that must load the file: 2024, 2025 (adds MXFP4) or 2026 (adds NVFP4, Q2_0, Q1_0); for "
        "types that a size chooses");
  field(o.lattice, "lattice",
        "let a size choose the types of codebooks too (IQ1_S to IQ3_S), which keep most at two and three bits but take "
        "longer to read than others of their size");
  field(o.fallback, "fallback", "where a row does not divide by a type's block, take another type and say so");
  field(o.preset, "preset",
        "fast: each weight is rounded by itself, for a first look; best, the one to take, where there is text: each is "
        "rounded so that the others make up for it (GPTQ); learned, where few bits lose too much and time is there: as "
        "best, then the quantized model learns from its teacher (QAD), for qad_tokens");
  field(o.importance, "importance", "weigh errors by the mean square of each input on the calibration data");
  field(o.calibration_tokens, "calibration_tokens",
        "tokens of the calibration data to use; 0 for as many as the preset wants: fast 8,192, best and learned 16 for "
        "each input of the widest layer, from 8,192 to 65,536");
  field(
      o.block_steps, "block_steps",
      "best, learned: steps of 2,048 tokens by which each block, once rounded, learns the codes and scales that give "
      "nearly what it gave unquantized; 200 take several times as long as best itself, and do most where bits are few; "
      "0 for none");
  visit_fields(o.qad, field);
}

// Of all fields but qad_losses: which losses there are, this folder does not know (recipes/schema/option_checks.h).
std::vector<FieldRule> quantize_rules();
// Every value that no model could be quantized with: an unknown or unwritable type, a role that is none, both or
// neither of `to` and `target_size`.
std::vector<FieldProblem> check_quantize_options(const QuantizeOptions& options);

struct Fallback {
  std::string tensor;
  TensorType wanted, used;
  std::string reason;  // "576 columns do not divide by 256", or that the values are too small
};
struct PlannedTensor {
  TensorSpec spec;
  TensorType type;
};
// What the file that a plan is made for asks of it; the exporter knows.
struct PlanTarget {
  uint64_t fixed_bytes = 0;  // metadata and tokenizer, beside the tensors
  bool fused_qkv = false;    // query, key and value of a layer are one tensor, so of one type
};

struct QuantizePlan {
  std::vector<PlannedTensor> tensors;
  std::vector<Fallback> fallbacks;
  std::string name;                                 // "IQ4_NL", "Q4_K_M", "target 60 MB"
  std::optional<int64_t> file_type;                 // general.file_type; without it, by the type of most weights
  PlanTarget target{};                              // what it was made for
  std::optional<uint64_t> budget_bytes;             // of the whole file
  std::optional<double> predicted_kl;               // nats a token, where sensitivities were measured
  uint64_t tensor_bytes() const;                    // with GGUF padding
  std::vector<std::string> fallback_lines() const;  // one a fallback: "blk.0.attn_q.weight: Q4_K -> Q5_0 (...)"
};

// The model as the file will say that it is run (options.kv).
ModelConfig planned_config(const ModelConfig& config, const QuantizeOptions& options);

// What each tensor would lose in each type, in nats of KL divergence a token: by name, of the matrices.
using Sensitivity = std::map<std::string, std::map<TensorType, double>>;

// The plan alone, by what was measured or, without it, a guess by type and role. Error{Usage} for what no file of that
// kind can hold.
QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target,
                               const Sensitivity* measured = nullptr);

// The whole file where each tensor takes the smallest type that a size may choose for it (options.compat, lattice,
// keep).
uint64_t smallest_file_bytes(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target);

struct QuantizedTensor {
  TensorType type;
  std::vector<int64_t> shape;  // (out, in), rows in Hugging Face order
  std::vector<std::byte> bytes;
  double relative_error = 0;  // importance-weighted squared error over squared norm; of outputs under feedback
  double rounding_error = 0;  // under feedback: what rounding each weight by itself would have cost
};
// What was not made again, because a folder held it.
struct TakenWork {
  bool sensitivity = false;
  int64_t layers = 0;
};
struct QuantizedModel {
  ModelConfig config;
  QuantizePlan plan;
  std::map<std::string, QuantizedTensor> tensors;  // by TensorSpec::name
  std::map<int64_t, BlockLoss> blocks{};           // by layer, of those that learned
  std::vector<std::string> notes{};
  TakenWork taken{};
  int64_t calibration_tokens = 0;  // of the text, as many as were used; 0: there was none
};

// What sensitivities are measured on, of the calibration data.
inline constexpr int64_t kSurveyTokens = 8192;

// Row-wise mean squares of the inputs of each matrix, by tensor name: what an importance matrix file holds.
using Importance = std::map<std::string, std::vector<float>>;  // (in)
Importance collect_importance(const WeightSource& weights, const TokenDataset& calibration, int64_t max_tokens,
                              int threads, const Progress& progress = {});
// The text as the walk is given it. Error{Input} if there is none.
std::vector<TokenBatch> calibration_batches(const ModelConfig& config, const TokenDataset& calibration,
                                            int64_t max_tokens);

// Encodes every tensor by the plan. Values that are too small for their type, so that most of what a tensor holds would
// be lost (F16, also inside blocks, ends at 6e-8), fall back to F32: the plan of the result says so. Error{Input}
// naming the tensor for NaN or infinite weights, for those that are too large for the planned type, and for a fallback
// that a target size has no room for. Bytes do not depend on the number of threads.
QuantizedModel quantize(const WeightSource& weights, const QuantizePlan& plan, const Importance& importance,
                        int threads, const Progress& progress = {});

// The same with error feedback along the block walk: each group is given what the quantized layers before it make. One
// statistic of inputs (in, in) a group.
struct FeedbackInputs {
  std::vector<TokenBatch> batches;        // calibration_batches
  const at::Tensor* embedding = nullptr;  // (C, C) f64: Survey::embedding; nullptr: a tied one counts as the head
  const KeptCodes* kept = nullptr;        // where codes are kept and those of a broken run are taken from
  BlockLearner learn{};                   // where set, each block learns behind its groups
  const at::Tensor* streams = nullptr;    // (L, C) f64: Survey::streams, for what learns; nullptr: channels count alike
  int64_t left_tokens = 0;                // of the text, which `batches` leave out
};
QuantizedModel quantize_with_feedback(const WeightSource& weights, const QuantizePlan& plan,
                                      const FeedbackInputs& inputs, int threads, const Progress& progress = {});

// Folders that keep what a quantization has measured and chosen, so that nothing is done twice. "": nothing is kept.
// Whoever passes `steps` has seen to it that codes there are to be taken (kept/kept_codes.h) and removes them at the
// end.
struct KeptWork {
  std::string steps{};  // codes, layer by layer: a run that was broken off goes on behind the last, to the same bytes
  std::string cache{};  // sensitivities, by what they depend on; "": with the codes
};

// The whole: a plan, where a size asks for it by what is measured on the calibration data, and codes by options.preset,
// with feedback or weighted by what the inputs are; neither looks at the data where `importance` is off, and both at no
// more of it than calibration_limit_tokens (calibration.h). Of weights in a file a layer is in memory at a time, and
// the head where divergences are measured. `learn`: what block_steps asks for.
QuantizedModel quantize(const WeightSource& weights, const QuantizeOptions& options, const PlanTarget& target,
                        const TokenDataset& calibration, int threads, const Progress& progress = {},
                        const KeptWork& kept = {}, const BlockLearner& learn = {});

// What to say where a plan rounds weights that a file holds in blocks already; "" where it does not.
std::string requantization_note(const ModelFile& source, const QuantizePlan& plan);

}  // namespace attar
