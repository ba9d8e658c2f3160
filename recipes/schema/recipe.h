// A recipe: teacher, data, and the stages in order. Parsed and validated whole before anything runs; every option of a
// stage is a field of that stage's options struct, listed once (runtime/base/fields.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/train.h"
#include "prune/prune.h"
#include "quantize/quantize.h"
#include "recipes/schema/problems.h"
#include "runtime/base/progress.h"
#include "runtime/formats/config.h"
#include "runtime/judge/gates.h"
#include "runtime/judge/verify.h"

namespace attar {

// `formats`: gguf, hf, compressed-tensors. `hf_dtype`: float32 or bfloat16. `dequantized`: the Hugging Face directory
// holds the codes' values.
struct ExportOptions {
  std::vector<std::string> formats{"gguf"};
  std::string hf_dtype = "float32";
  bool dequantized = false;
};
template <class Visitor>
void visit_fields(ExportOptions& o, Visitor&& field) {
  field(o.formats, "formats", "what to write: gguf, hf, compressed-tensors (the codes, for Hugging Face's loaders)");
  field(o.hf_dtype, "hf_dtype", "number type of the Hugging Face directory: float32 or bfloat16");
  field(o.dequantized, "dequantized",
        "write the quantized codes' values to the Hugging Face directory, not the student before quantization");
}

// A training as a stage and a verb: what is learned, and by what the gain of a teacher is measured (recipes/arms).
struct DistillStage : DistillOptions {
  bool arms = false;
  int64_t arm_seeds = 1;
};
template <class Visitor>
void visit_fields(DistillStage& o, Visitor&& field) {
  visit_fields(static_cast<DistillOptions&>(o), field);
  field(o.arms, "arms",
        "does distilling pay: train four arms at the same tokens and seed, from random weights and from the student, "
        "each by cross-entropy alone and by the losses, and judge them on the evaluation text; the last one goes on");
  field(o.arm_seeds, "arm_seeds", "arms: seeds that every arm is trained with; the student is that of the first");
}

struct VerifyStage : runtime::VerifyOptions {
  std::map<std::string, double> gates;
  bool bench = true;
  bool baseline = true;
  int64_t samples = 3;
  std::string prompts{};
};
template <class Visitor>
void visit_fields(VerifyStage& o, Visitor&& field) {
  visit_fields(static_cast<runtime::VerifyOptions&>(o), field);
  field(o.gates, "gates", runtime::kGatesHelp);
  field(o.bench, "bench", "measure speed and memory of both models");
  field(o.baseline, "baseline",
        "judge the teacher quantized alone to the student's size too, as the recipe quantizes: what pruning and "
        "distilling are worth; left out where the recipe does neither");
  field(o.samples, "samples", "texts of both models to show side by side in the report");
  field(o.prompts, "prompts",
        "file of what the samples begin with: chats (.jsonl with messages), or beginnings of texts (.txt); without it "
        "questions, or where the teacher has no chat template how the evaluation text begins");
}

using Stage = std::variant<PruneOptions, DistillStage, QuantizeOptions, ExportOptions, VerifyStage>;
const char* stage_name(const Stage& stage);  // "prune", "distill", ...

// Text that the teacher writes. `prompt`: chat (answers to the user turns of `prompts`, or of its own making), or none
// (free text from BOS or a random first token).
struct TeacherWrites {
  int64_t tokens = 24000;
  std::string prompt = "chat";
  std::string prompts;       // chats, or beginnings of texts; empty: the teacher writes the user turn too
  int64_t max_tokens = 256;  // of one document
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t signal_top_k = 64;  // kept teacher signal a token; 0: none
  std::string numerics = "fp32";
};
template <class Visitor>
void visit_fields(TeacherWrites& o, Visitor&& field) {
  field(o.tokens, "tokens", "tokens to write");
  field(o.prompt, "prompt", "chat: answers to user turns; none: free text");
  field(o.prompts, "prompts",
        "file of user turns (.jsonl with messages), without it the teacher writes them too; with prompt none, of "
        "beginnings that it goes on with (.txt)");
  field(o.max_tokens, "max_tokens", "longest document");
  field(o.temperature, "temperature", "1 samples the teacher's own distribution");
  field(o.top_p, "top_p", "nucleus; 1 for all");
  field(o.signal_top_k, "signal_top_k", "teacher probabilities kept at each token for distillation; 0 for none");
  field(o.numerics, "numerics", "of the teacher, and so of its signal: fp32, or deployed (int8 activations, faster)");
}

// Answers of a model behind an OpenAI-compatible endpoint, to `samples` requests a prompt.
struct EndpointWrites {
  std::string url{};
  std::string model{};
  std::string prompts{};
  int64_t tokens = 24000;
  int64_t samples = 4;
  int64_t max_tokens = 256;  // of one answer
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_logprobs = 5;
  bool send_seed = true;
  std::string system{};
  int64_t concurrency = 4;
  int64_t requests_per_minute = 0;
  double timeout_s = 300.0;
  std::string key{};    // the name of an environment variable
  std::string cache{};  // a folder
};
template <class Visitor>
void visit_fields(EndpointWrites& o, Visitor&& field) {
  field(o.url, "url", "address of the API up to its version, such as http://localhost:8080/v1");
  field(o.model, "model", "the model that it is asked for");
  field(o.prompts, "prompts",
        "file of what it answers: chats that end with a user turn (.jsonl with messages), or beginnings of texts that "
        "it goes on with (.txt)");
  field(o.tokens, "tokens", "budget: it is asked until its answers have so many tokens, dropped ones too");
  field(o.samples, "samples", "answers to each prompt; those that nearly repeat another one are dropped");
  field(o.max_tokens, "max_tokens", "longest answer, in tokens of its own");
  field(o.temperature, "temperature", "1 samples the model's own distribution");
  field(o.top_p, "top_p", "nucleus; 1 for all");
  field(o.top_logprobs, "top_logprobs",
        "likeliest tokens whose probabilities it is asked for, a signal where its tokens are the recipe's teacher's; 0 "
        "for none");
  field(o.send_seed, "send_seed",
        "a seed with each request, of the recipe's seed and the number of the sample, by which many servers write the "
        "same again; some refuse it");
  field(o.system, "system", "system message of chats that have none");
  field(o.concurrency, "concurrency", "requests on their way at once; what is written does not depend on it");
  field(o.requests_per_minute, "requests_per_minute", "at most; 0 for any number");
  field(o.timeout_s, "timeout_s", "seconds without an answer after which it is asked again");
  field(o.key, "key", "environment variable that holds the key, such as OPENAI_API_KEY; without it none is sent");
  field(o.cache, "cache",
        "folder in which answers are kept, so that nothing is asked twice; without it attar/answers in the user's "
        "cache folder");
}

// How texts are read, and what of them is left out.
struct DataOptions : TextDataOptions {
  double deduplicate = 0.0;
};
template <class Visitor>
void visit_fields(DataOptions& o, Visitor&& field) {
  visit_fields(static_cast<TextDataOptions&>(o), field);
  field(
      o.deduplicate, "deduplicate",
      "drop documents that share this part of their runs of five words with an earlier one (Jaccard similarity), such "
      "as 0.8; 1 for the same words alone, 0 for none");
}

// One source of a split: texts (a file, a folder or a pattern, relative to the recipe), as often as `weight` says (2 is
// twice, 0.25 a quarter of its documents), text that the teacher or an endpoint writes, or of calibration documents of
// data.train, drawn by the recipe's seed until they hold `from_train` tokens.
struct DataSource {
  std::string file{};
  double weight = 1.0;
  std::optional<TeacherWrites> teacher_writes{};
  std::optional<EndpointWrites> endpoint_writes{};
  int64_t from_train = 0;

  bool is_written() const { return teacher_writes || endpoint_writes; }
  // The texts that it names: its own, or the prompts of what is written; "": none.
  const std::string& texts() const {
    return teacher_writes ? teacher_writes->prompts : endpoint_writes ? endpoint_writes->prompts : file;
  }
  // Entries of the signal that comes with what is written; 0: none comes.
  int64_t signal_k() const {
    if (teacher_writes) return teacher_writes->signal_top_k;
    return endpoint_writes && endpoint_writes->top_logprobs > 0 ? endpoint_writes->top_logprobs + 1 : 0;
  }
};

// The shape of a model that is trained here; the vocabulary comes from its tokenizer.
struct Architecture {
  std::string family = "llama";
  int64_t layers = 4, width = 128, heads = 4, kv_heads = 4, head_dim = 32, ffn = 384;
  int64_t context = 1024, sliding_window = 0;
  double rope_theta = 10000.0, norm_epsilon = 1e-5;
  bool tied_embeddings = true;
};
template <class Visitor>
void visit_fields(Architecture& o, Visitor&& field) {
  field(o.family, "family", "llama, qwen2, qwen3 or gemma3");
  field(o.layers, "layers", "number of layers");
  field(o.width, "width", "width of the residual stream");
  field(o.heads, "heads", "query heads a layer");
  field(o.kv_heads, "kv_heads", "key and value heads a layer; divides heads");
  field(o.head_dim, "head_dim", "width of a head; even");
  field(o.ffn, "ffn", "width of the feed-forward layer");
  field(o.context, "context", "longest sequence in tokens");
  field(o.sliding_window, "sliding_window", "gemma3: how many tokens the local layers see");
  field(o.rope_theta, "rope_theta", "base of the rotary embedding");
  field(o.norm_epsilon, "norm_epsilon", "added to the mean square in RMSNorm");
  field(o.tied_embeddings, "tied_embeddings", "the head is the embedding");
}
// Error{Usage} for what could not be a model.
ModelConfig to_config(const Architecture& architecture, int64_t vocab_size);

// A teacher or student: one that exists, or one that is made here.
struct ModelRecipe {
  std::string model;                         // MODEL; or empty, and then:
  std::optional<Architecture> architecture;  // recipe key `config`
  std::string tokenizer;  // a tokenizer.json or a MODEL to take it from; of a student "": the teacher's
  std::optional<DistillOptions> pretrain;  // cross-entropy on the train split's text
};

struct Recipe {
  int64_t version = 1;
  std::string name;
  std::string about;  // one line, for lists
  std::string file;   // as messages call it
  std::string path;   // relative paths start at the folder of this one: of the file, or as its `paths_from` says
  std::vector<std::string> overrides{};  // that it was read with
  int64_t seed = 0;
  ModelRecipe teacher;
  std::optional<ModelRecipe> student;
  std::vector<DataSource> train, calibration, evaluation;
  DataOptions text;  // keys of `data` beside the splits
  std::vector<Stage> stages;
  RecipePlaces places{};  // of teacher, student, stages.N, data.SPLIT.N, ...
};

// `path`: a file, or the name of a recipe of the library (library.h). `overrides`: "stages.1.distill.tokens=1000",
// "seed=3". Without data.calibration it is drawn from data.train, as much as the stages ask for by a number, or else
// 8,192 tokens. Throws Error listing every problem at once, one line each, those of the files and models that it names
// too:
// "tiny.yaml:14:3: prune.drop_ffn = 1.4: expected 0 <= x < 1".
// `progress`: of models of the hub that a recipe with problems names, which are brought here to be looked at.
Recipe parse_recipe(const std::string& path, const std::vector<std::string>& overrides, const Progress& progress = {});
// The same of a text that did not come from a file; `path` is what it is called, and where its own paths start.
Recipe parse_recipe_text(const std::string& text, const std::string& path, const std::vector<std::string>& overrides,
                         const Progress& progress = {});

// The same problems without throwing, and those of what is named alone; Error for a file that is no YAML.
std::vector<RecipeProblem> recipe_problems(const std::string& path, const std::vector<std::string>& overrides,
                                           const Progress& progress = {});

// The recipe with every default written out, as YAML: resolved.yaml.
std::string resolved_yaml(const Recipe& recipe);

}  // namespace attar
