// How well a model does: perplexity and bits per byte of texts, accuracy on items whose answer is known.
// Definitions: EleutherAI's lm-evaluation-harness 0.4.13, output types `multiple_choice` and `loglikelihood`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/formats/model_text.h"
#include "runtime/judge/statistics/standard_error.h"
#include "runtime/model/model.h"

namespace attar::runtime {

// What is read and what then is judged. Between them stands a space.
struct Choice {
  std::string context;
  std::string answer;
};

enum class TaskForm {
  Choices,   // {"query", "choices": [...], "gold"}: which answer is likeliest after the query
  Contexts,  // {"context_options": [...], "continuation", "gold"}: after which context the continuation is likeliest
  Cloze,     // {"context", "continuation"}: whether the model would write the continuation
};

struct TaskItem {
  std::vector<Choice> choices;  // a cloze has one
  int64_t gold = 0;             // which of them is right
  std::string where;            // file:line, for messages
};

struct Task {
  TaskForm form = TaskForm::Choices;
  std::vector<TaskItem> items;
};

// A file of JSON lines (also .gz), the first `limit` items, 0 for all. Error{Input} with the line for what is no item,
// has another form than the first, no choices or a gold answer out of range.
Task read_task(const std::string& path, int64_t limit = 0);

// The tokens of a choice. Spaces at the end of the context go to the continuation. BOS as the tokenizer says, once; no
// EOS. An empty context is BOS, or EOS where there is none. What is too long loses its first tokens.
struct ChoiceTokens {
  std::vector<int32_t> tokens;  // (T), T <= context_tokens + 1: the last one is only predicted
  size_t begin = 0;             // tokens[begin ..] are the continuation's
};
// Error{Input} naming `where`: a continuation that has no token of its own or is longer than the context.
ChoiceTokens choice_tokens(const Tokenizer& tokenizer, const Choice& choice, int64_t context_tokens,
                           const std::string& where);

// What the model makes of one item. Of equals the first wins.
struct ItemScores {
  std::vector<double> log_probs;  // (choices) natural log of p(continuation | context)
  int64_t best = 0;
  int64_t best_by_characters = 0, best_by_bytes = 0;  // of log_prob / length of the answer: acc_norm, acc_bytes
  bool greedy = false;                                // cloze: each token of the continuation is the likeliest one
};
ItemScores score_item(const Model& model, const TaskItem& item, Workspace& work, const Progress& progress = {});

// `progress` counts items. -> (items)
std::vector<ItemScores> score_task(const Model& model, const Task& task, Workspace& work,
                                   const Progress& progress = {});

// A share of a task's items, and its standard error: NaN for one item.
struct Accuracy {
  double share = 0.0, stderr_ = 0.0;
};
struct TaskAccuracy {
  Accuracy plain;                    // acc; of clozes the share that is greedy
  Accuracy by_characters, by_bytes;  // TaskForm::Choices: acc_norm, acc_bytes
  double perplexity = 0.0;           // TaskForm::Cloze: exp of the mean -log p(continuation)
};
TaskAccuracy accuracy_of(const Task& task, std::span<const ItemScores> scores);

// Texts in windows of at most `context_tokens` (text_windows in score.h), of each what counts in it.
struct TextScore {
  int64_t tokens = 0;                            // scored
  double nats = 0.0;                             // sum of -log p
  double bytes = 0.0;                            // of the scored tokens
  std::vector<WindowSum> by_tokens, by_bytes{};  // (windows) nats of each, with its tokens or bytes
  double perplexity() const;
  double bits_per_byte() const;
  // Standard errors from the windows; NaN where one alone has scored tokens. Of the perplexity by the delta method.
  double perplexity_stderr() const;
  double bits_per_byte_stderr() const;
};
// Error{Input}: no token to score. `progress` counts tokens.
TextScore score_texts(const Model& model, std::span<const ModelText> texts, int64_t context_tokens, Workspace& work,
                      const Progress& progress = {});

}  // namespace attar::runtime
