// The stages one by one, on files: what the verbs of `attar` and the Python functions call.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/train.h"
#include "prune/prune.h"
#include "quantize/quantize.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"

namespace attar {

// OUT ends in .gguf or is a directory, and is none of the inputs. `to`: the tensor type of a GGUF that is not the work
// of quantize; prune and distill write F16 without it, export keeps what each tensor has.
struct CommandOptions {
  std::string model, out;
  std::vector<std::string> data;  // the text that the command works on: files, folders or patterns (text_paths.h)
  std::string to{};
  int threads = 0;
  int64_t seed = 0;
  DataOptions text{};      // how `data` is read
  bool force = false;      // write over what is there
  Ranks* ranks = nullptr;  // other processes that trainings share
};

// Each returns a JSON document: what was written, sizes, notes.
// `resume`: from the cuts that a run left in OUT.steps.
std::string prune_model(const CommandOptions& command, const PruneOptions& options, const Progress& progress = {},
                        bool resume = false);
// `training`: the text that preset learned learns from, "": that which it calibrates with; it calibrates with this
// where there is no other. `resume`: from what lies in OUT.steps, where codes are kept as they are made, and
// checkpoints.
struct QuantizeInputs {
  std::string imatrix{};
  std::string imatrix_out{};  // where importance goes that the calibration text gives; "": nowhere
  std::vector<std::string> training{};
  bool resume = false;
  std::string cache{};  // a folder for sensitivities, which other budgets take from there; "": none
};
std::string quantize_model(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs,
                           const Progress& progress = {});
// `evaluation`: the text that arms are judged on; what shares 13 words with it is not learned from. `resume`: from the
// checkpoints in OUT.steps.
struct DistillInputs {
  std::string student{};
  std::vector<std::string> evaluation{};
  bool resume = false;
};
std::string distill_model(const CommandOptions& command, const DistillInputs& inputs, const DistillStage& options,
                          const Progress& progress = {});

struct ExportTarget {
  std::string format = "gguf", dtype{};
  bool dequantized = false;
  std::string split_size{};
};
template <class Visitor>
void visit_fields(ExportTarget& o, Visitor&& field) {
  field(o.format, "format",
        "gguf; hf: a Hugging Face directory, of a GGUF the values that its codes stand for; compressed-tensors: one of "
        "integer codes, as a GGUF's or those of --to");
  field(o.dtype, "dtype", "numbers of a Hugging Face directory: float32 (without it) or bfloat16");
  field(o.dequantized, "dequantized",
        "hf: write the values that codes of type --to stand for, or those of a GGUF's own codes");
  field(o.split_size, "split_size",
        "gguf: most bytes of one file, such as 2GB; a larger model becomes OUT-00001-of-0000N.gguf, ...");
}
std::string export_model(const CommandOptions& command, const ExportTarget& target, const Progress& progress = {});

}  // namespace attar
