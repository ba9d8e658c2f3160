// Fidelity of a student to its teacher: both run side by side in this runtime, streaming, on one named text.
// KL, top-k and perplexity as llama-perplexity --kl-divergence has them; sums in double.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/host/thread_pool.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/numerics.h"
#include "runtime/formats/text_file.h"
#include "runtime/judge/tasks/task_comparison.h"

namespace attar::runtime {

struct VerifyOptions {
  int64_t context = 512;
  int64_t max_tokens = 0;           // of the text; 0: all
  std::string numerics = "both";    // fp32, deployed or both
  std::optional<std::string> kv{};  // of the student's deployed numbers: f16, int8
  std::string chat_template{};
  std::vector<std::string> tasks{};
  int64_t task_items = 0;  // of each task; 0: all
};
template <class Visitor>
void visit_fields(VerifyOptions& o, Visitor&& field) {
  field(o.context, "context",
        "window length in tokens; windows do not overlap, every position but the first is scored");
  field(o.max_tokens, "max_tokens", "score at most this many tokens of the text; 0 for all");
  field(o.numerics, "numerics", "fp32, deployed or both; gates judge deployed");
  field(o.kv, "kv", "the student's keys and values in deployed numbers: f16 or int8; without it as its file plans");
  field(o.chat_template, "chat_template",
        "chat template of chats, of which what the assistant says is scored: a file, or chatml, llama3, gemma, phi3 or "
        "zephyr; without it the teacher's own");
  field(
      o.tasks, "tasks",
      "files of multiple-choice or cloze items (.jsonl, also .gz) that both models answer: accuracy of each, how often "
      "they agree");
  field(o.task_items, "task_items", "items of each task; 0 for all");
}

// Whether `mode` is among `options.numerics`. Error{Usage}: they are none of the three.
bool is_verified(const VerifyOptions& options, Numerics mode);

// `stderr_`: of the mean, from the windows (statistics/standard_error.h); NaN when there is one window alone.
struct Spread {
  double mean = 0, stderr_ = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
struct Pair {
  double teacher = 0, student = 0, ratio = 0;
};

struct Fidelity {
  Spread kl;  // nats per scored token; KL(teacher || student)
  double top1_agreement = 0, top1_stderr = 0, top5_overlap = 0;
  Pair perplexity, bits_per_byte;
  double dropped_mass = 0;  // mean teacher probability outside the student's vocabulary
  // For paired comparisons; not printed.
  std::vector<double> kl_values;    // (scored)
  std::vector<double> nll_values;   // (scored) nats that the student gives the text's own token
  std::vector<double> same_top;     // (scored) 1: both find the same token likeliest
  std::vector<size_t> window_ends;  // (windows) how many of them the windows so far hold
};

struct VerifyResults {
  std::string text_sha256;
  int64_t context = 0;  // tokens of a window
  int64_t windows = 0, scored_tokens = 0;
  int64_t skipped_tokens = 0;  // positions whose tokenization differs between the vocabularies
  std::string kv_format{};     // of the student's deployed numbers: "f16", "int8"
  std::optional<Fidelity> fp32, deployed;
  std::vector<TaskComparison> tasks{};  // what verify_on_tasks gives, where it was asked
  std::vector<std::string> notes{};     // fallbacks that the models took, one line each
};

// Windows of each document do not overlap and each begins with the BOS that the file asks for. Chats are read through
// the teacher's template.
// A student with a trimmed vocabulary: its token texts are a subset of the teacher's, matched by text; the teacher is
// restricted to them and renormalised for KL and top-k; perplexity is each model's own. Error{Input} when the
// vocabularies do not match otherwise.
// `kept`: the beginning of the names of files that keep what is scored, for a verification that is broken off and goes
// on; whoever passes it removes them. "": nothing is kept.
VerifyResults verify(const ModelFile& teacher, const ModelFile& student, const std::vector<Document>& text,
                     const VerifyOptions& options, ThreadPool& threads, const Progress& progress = {},
                     const std::string& kept = {});

// Both models on options.tasks, with deployed numbers unless fp32 alone is asked for. Apart from verify: the lean
// program has no tasks.
std::vector<TaskComparison> verify_on_tasks(const ModelFile& teacher, const ModelFile& student,
                                            const VerifyOptions& options, ThreadPool& threads,
                                            const Progress& progress = {});

// Of many runs of the same work: the median, and how far the quartiles lie apart.
struct Rate {
  double tokens_per_s = 0, iqr_tokens_per_s = 0;
  int64_t runs = 0;
};
// From child processes that run one model alone: `attar-run bench --json`.
struct Efficiency {
  uint64_t bytes = 0;
  int64_t parameters = 0;
  double bits_per_weight = 0;
  Rate prefill{}, decode{};
  double time_to_first_token_s = 0;
  uint64_t peak_rss_bytes = 0;
};

}  // namespace attar::runtime
