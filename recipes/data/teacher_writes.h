// Text that the teacher itself writes, batched in the native runtime, with the distribution each token was drawn from
// kept as its top k. What is written depends on (teacher, options, seed, split) alone: not on threads, batch or resume.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"
#include "runtime/formats/text_file.h"
#include "runtime/model/model.h"

namespace attar {

struct TeacherPrompts {
  std::vector<Document> documents{};  // chats whose last message is a user turn; for prompt none beginnings of texts
  std::string chat_template{};        // as of TextReaderOptions
};

// Where what is written so far is kept (kept_documents.h), for a writing that is broken off.
struct WritingSteps {
  std::string path{};      // "": nowhere
  DatasetOrigin origin{};  // of what is written
};

// Without prompts and with prompt chat the teacher writes the user turn first, then the answer to it (Magpie, Xu et al.
// 2024, arXiv 2406.08464). Only answers are in the loss, and only they count
// as tokens written. `split` keys the draws, so two splits never share a document.
TokenDataset write_with_teacher(const runtime::Model& teacher, const TeacherPrompts& prompts,
                                const TeacherWrites& options, uint64_t seed, uint64_t split, runtime::Workspace& work,
                                const Progress& progress = {}, const WritingSteps& steps = {});

}  // namespace attar
