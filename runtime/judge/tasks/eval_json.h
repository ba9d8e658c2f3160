// `eval`: perplexity and bits per byte of texts, accuracy on task files, as the document that it prints. What is
// judged, and how: evaluate.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/fields.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/numerics.h"

namespace attar::runtime {

struct EvalOptions {
  std::vector<std::string> tasks;
  std::string numerics = "deployed";
  std::string kv{};
  int64_t context = 512;
  std::string chat_template{};
  int64_t limit = 0;
  bool per_item = false;
};
template <class Visitor>
void visit_fields(EvalOptions& o, Visitor&& field) {
  field(o.tasks, "tasks", "multiple-choice or cloze items (.jsonl, also .gz), scored as lm-evaluation-harness does");
  field(o.numerics, "numerics", "deployed: int8 activations, as users run it; or fp32, the reference");
  field(o.kv, "kv", kKvHelp);
  field(o.context, "context", "window length in tokens for --data");
  field(o.chat_template, "chat_template",
        "chat template of chats, of which what the assistant says is scored: a file, or chatml, llama3, gemma, phi3 or "
        "zephyr; without it the model's own");
  field(o.limit, "limit", "items of each task; 0 for all");
  field(o.per_item, "per_item", "list each item's log-probabilities and choice too");
}

inline constexpr RenamedField kEvalRenamed[] = {{"task", "tasks"}};
inline std::span<const RenamedField> renamed_fields(const EvalOptions&) {
  return kEvalRenamed;
}

// Before a model is looked for. Error{Usage}: neither data nor tasks, or an option that is out of its range.
void check_evaluation(const std::vector<std::string>& data, const EvalOptions& options);

// The JSON document of `eval` (runtime/cli/JSON.md). `name`: the model as it was asked for; `data`: files, folders
// or patterns, may be empty where there are tasks.
// Error{Usage}: as above, or a context that the model does not have. Error{Input}: what a file holds.
std::string eval_document(const std::string& name, const ModelFile& file, const std::vector<std::string>& data,
                          const EvalOptions& options, ThreadPool& threads, const Progress& progress = {});

}  // namespace attar::runtime
