// Text that a model behind an OpenAI-compatible endpoint writes: a teacher of which only answers are known, and at best
// its likeliest tokens. Sampled answers are learned by cross-entropy (sequence-level distillation, Kim and Rush 2016,
// arXiv 1606.07947).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/data/teacher_writes.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// What came of it.
struct EndpointRecord {
  std::string url{}, model{}, prompts{};
  int64_t asked_prompts = 0;
  int64_t answers = 0;     // to them, of which
  int64_t duplicates = 0;  // were dropped: they nearly repeat another answer to their prompt
  int64_t wordless = 0;    // were dropped: a refusal, a call of a tool
  int64_t cut = 0;         // stay, cut at max_tokens
  int64_t tokens = 0;      // of all answers; the budget
  int64_t budget_tokens = 0;
  int64_t loss_tokens = 0;       // of those that stay
  int64_t signalled_tokens = 0;  // of these
  bool wants_signal = false;
};
std::string endpoint_record(const EndpointRecord& record);     // JSON
EndpointRecord endpoint_record_of(const std::string& record);  // of what endpoint_record wrote
std::vector<std::string> notes_of(const EndpointRecord& record);

// Documents in the vocabulary of `tokenizer`, prompt by prompt, only answers in the loss. `cache`: the folder of
// answers (answer_cache.h). What is written depends on the answers alone, not on how many are asked for at once; those
// of the cache are not asked for. Error{Input}, Error{Failure}: the endpoint refuses, or does not answer; answers so
// far are kept.
TokenDataset write_with_endpoint(const Tokenizer& tokenizer, const TeacherPrompts& prompts,
                                 const EndpointWrites& options, int64_t seed, const std::string& cache,
                                 EndpointRecord& record, const Progress& progress = {});

}  // namespace attar
