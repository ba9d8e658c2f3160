// The teacher's distribution over text that is there already, kept as its top k (`signal: cached`, where the teacher
// did not write the text itself), as a sample (`signal: sampled`) or as the states that its head makes it of (`signal:
// hidden`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/train.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"

namespace attar {

// True when the trainer would look for a cached signal that some document of `data` lacks.
bool needs_teacher_signal(const TokenDataset& data, const DistillOptions& options);

// Adds the signal to the documents without one (signal_capture.h). `data` is in the teacher's ids; `kept` are those
// that the student has (empty: all): the signal names only those, and says what mass all others have. A document is
// read in the cuts of `sequence_tokens` that the trainer makes, so the teacher sees what the student will see. The
// signal is kept in `folder`, in shards named after the hash of all that decides it, and stays there: it is not made
// again, and its documents are read as they are learned (compress/dataset).
TokenDataset with_teacher_signal(const ModelFile& teacher, TokenDataset data, const std::vector<int32_t>& kept,
                                 const DistillOptions& options, const std::string& folder, int threads,
                                 const Progress& progress = {});

// What a student learns from hidden states by: the teacher's head (V, C) f32, where the data holds some; else nothing.
// Error{Input}: the states are of another width.
at::Tensor head_for_states(const ModelFile& teacher, const TokenDataset& data);

// Of a signal that is no top k, over the tokens that are in the loss; on disk, of the text as the teacher read it.
double signal_bytes_per_token(const TokenDataset& data);

// What a cached signal left open in a training: `results`, a JSON object for the report, and a note for each gap.
// Nothing where the teacher ran beside the student.
struct SignalRecord {
  std::string results = "{}";
  std::vector<std::string> notes{};
};
SignalRecord signal_record(const TrainResult& trained, const TokenDataset& data, const DistillOptions& options);

}  // namespace attar
