// Which teacher a training learns from: none, one that runs beside the student, or the signal kept with its data.
#pragma once

#include <string>

#include "distill/labels.h"
#include "distill/train.h"

namespace attar {

// Error{Usage}, Error{Input}: what the options ask for and neither teacher nor data can give; no such loss; no token to
// learn from.
SignalSource signal_source(const TrainInputs& inputs, const DistillOptions& options, const Progress& progress = {});

// Whether a loss with a weight needs a teacher; losses that are not known count for nothing.
bool asks_a_teacher(const DistillOptions& options);

// Whether the losses compare a student with a teacher that reads the text in tokens of its own.
bool asks_alignment(const DistillOptions& options);

// What of the options a teacher with another tokenizer than the student's cannot give, as their key; "": nothing.
std::string needs_same_tokens(const DistillOptions& options);
// The way out, for who is told of two tokenizers that differ.
inline constexpr const char* kAcrossTokenizers =
    "or learn across tokenizers: losses {aligned_likelihood: 1.0} or {uld: 1.0}, with cross_entropy beside them or "
    "not; or {cross_entropy: 1.0} alone, on text that the teacher writes";

// The temperature of a loss that a signal kept at 1 does not serve; 1 where there is none. Losses must be known.
double other_temperature(const DistillOptions& options);

// Whether the trainer takes the signal that is kept with the data and needs no teacher beside the student. auto does so
// where all of the data has one, and at the temperature at which it was kept.
bool learns_from_cache(const DistillOptions& options, const TokenDataset& data);

// Whether steps ask the teacher whatever is kept with the data.
bool always_beside(const DistillOptions& options);

// Whether a training needs the teacher: for all that is learned, for what a cached signal leaves open, or before the
// first step, for its curriculum. With unsignalled: online it may read all of a signal on disk, which progress counts,
// and who trains on the data then says so (TrainInputs::asked_beside). Error{Interrupted}.
bool needs_teacher_beside(const DistillOptions& options, const TokenDataset& data, const Progress& progress = {});

}  // namespace attar
