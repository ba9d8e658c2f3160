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
  std::vector<std::string> data;  // calibration or training text
  std::string to{};
  int threads = 0;
  int64_t seed = 0;
  TextDataOptions text{};  // how `data` is read
};

// Each returns a JSON document: what was written, sizes, notes.
std::string prune_model(const CommandOptions& command, const PruneOptions& options, const Progress& progress = {});
std::string quantize_model(const CommandOptions& command, const QuantizeOptions& options, const std::string& imatrix,
                           const Progress& progress = {});
std::string distill_model(const CommandOptions& command, const std::string& student, const DistillOptions& options,
                          bool resume, const Progress& progress = {});

// What export writes. `dtype`: numbers of a Hugging Face directory, "" for float32. `dequantized`: it holds the values
// that codes of type `to` stand for.
struct ExportTarget {
  std::string format = "gguf", dtype{};
  bool dequantized = false;
  std::string split_size{};  // of GGUF: most bytes of one file, such as 2GB; "" for one file
};
std::string export_model(const CommandOptions& command, const ExportTarget& target, const Progress& progress = {});

// Perplexity and bits per byte of a text; or accuracy on task files in the form of multiple-choice JSONL.
struct EvalOptions {
  std::vector<std::string> tasks;
  std::string numerics = "deployed";
  int64_t context = 512;
  int64_t limit = 0;            // items of a task, 0 for all
  bool per_item = false;        // list what each item was given
  std::string chat_template{};  // as of TextReaderOptions
};
std::string eval_model(const CommandOptions& command, const EvalOptions& options, const Progress& progress = {});

// What this machine has and lacks, as JSON. `runtime_program`: attar-run, which measures.
std::string doctor(const std::string& runtime_program);

}  // namespace attar
