// What each stage of a run takes on this machine: tokens, time, memory and disk, by its options, the shapes of the
// models and how fast a core multiplies. They are estimates: no data is read into tokens and no weight is touched.
#pragma once

#include <cstdint>
#include <vector>

#include "recipes/schema/recipe.h"
#include "runtime/formats/config.h"

namespace attar {

struct Estimate {
  double tokens = 0;  // that the stage learns from, measures or writes
  double seconds = 0;
  double memory_bytes = 0;  // at most, beside kProgramBytes and product_kernel_bytes()
  double disk_bytes = 0;    // of what it leaves in the run folder
};

// A run as far as its plan has come.
struct PlannedRun {
  const Recipe& recipe;
  ModelConfig teacher, student;  // the student as the stages so far leave it
  double teacher_bytes;          // of its file, or of its weights where it is trained here
  double gguf_bytes = 0;         // of the student's file; 0: no stage so far has quantized it
  bool taught = false;           // by a distill stage so far
  int threads;
  double flops;  // multiply-adds a second times two, of all threads
};

// Multiply-adds a second times two that one core reaches on f32 matrices that stay in its cache: the fastest of a few
// tries, some milliseconds in all.
double matmul_flops_per_core();

inline constexpr double kProgramBytes = 1.7e8;  // memory of the program with LibTorch
// Memory that oneDNN keeps for its kernels from a program's first products on; 0 where it does not multiply.
double product_kernel_bytes();

// Requests to an endpoint, if its answers are as long as they may be. Reads the prompts. Files of the recipe are there,
// here and below: open_inputs has looked.
double requests_of(const Recipe& recipe, const EndpointWrites& options);
// Tokens of a source or a split: of texts by their bytes, of what is written by its budget.
double tokens_of(const Recipe& recipe, const DataSource& source);
double tokens_of(const Recipe& recipe, const std::vector<DataSource>& split);

// Whether the teacher runs beside the student in the steps of this training, as far as that can be told without the
// data.
bool learns_beside(const PlannedRun& run, const DistillOptions& options);
// Whether the passes of a training are a GPU's: asked for, here or not, or found here where that decides. Memory is the
// host's alone then; the time stays that of the processor.
bool learns_on_gpu(const DistillOptions& options);
// Trainings of a stage with `arms`, the one that was asked for among them.
int64_t arms_trained(const PlannedRun& run, const DistillStage& options);

// Of the teacher; the recipe trains it (teacher.pretrain).
Estimate estimate_teacher(const PlannedRun& run);
// Of the train and calibration data.
Estimate estimate_data(const PlannedRun& run);
// `pruned`: the student afterwards.
Estimate estimate_prune(const PlannedRun& run, const PruneOptions& options, const ModelConfig& pruned);
// With `arms` the time and memory of all of them, and the tokens of the one that was asked for.
Estimate estimate_distill(const PlannedRun& run, const DistillStage& options);
// `tensor_bytes`: of the planned tensors in the file.
Estimate estimate_quantize(const PlannedRun& run, const QuantizeOptions& options, double tensor_bytes);
Estimate estimate_export(const PlannedRun& run, const ExportOptions& options);
Estimate estimate_verify(const PlannedRun& run, const VerifyStage& options);

}  // namespace attar
