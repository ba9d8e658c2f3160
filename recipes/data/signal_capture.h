// A teacher is asked what it says of text: in the native runtime, or by the passes of a training, on its device and in
// its precision. What is kept of logits and states is the work of the same code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/pass/model_pass.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"

namespace attar {

struct CaptureOptions {
  std::vector<int32_t> kept{};    // ids that the student has: the signal names those alone; empty: all
  std::string numerics = "fp32";  // as of DistillOptions::signal_numerics
  PassPlace place{};              // of the training: of kTrainingNumerics alone
  int threads = 1;
};

// Hands on the documents of `data` from `first` on, in order, each with its signal in memory: one of the kind that the
// data says, where it had none. `data` is in the teacher's ids, its documents no longer than the teacher's context. No
// bit depends on `first` or the threads; in memory is what is read at once. Error{Input}: the teacher's weights or what
// they give are not finite. Error{Resources}: the memory of the device is full. Error{Interrupted}.
void capture_signal(const ModelFile& teacher, const TokenDataset& data, size_t first, const CaptureOptions& options,
                    const std::function<void(TokenDocument)>& hand_on, const Progress& progress = {});

}  // namespace attar
