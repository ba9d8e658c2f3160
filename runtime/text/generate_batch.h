// Many sequences in a batch, for text that a teacher writes: their order, their distributions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/judge/score.h"
#include "runtime/text/generate.h"

namespace attar::runtime {

struct BatchSequence {
  uint64_t id = 0;  // keys its random draws
  std::vector<int32_t> prompt;
};
struct BatchResult {
  std::vector<int32_t> prompt;
  std::vector<int32_t> tokens;  // generated, without the prompt; a token that the model ends the text with is the last
  std::string text;             // of those, without a stop text
  std::vector<TopK> signals;    // one a generated token when top_k_signals > 0: the distribution it was drawn from
  StopReason reason;
};
struct BatchOptions {
  GenerateOptions text;     // of each; max_tokens at least 1
  int64_t batch_size = 16;  // sequences at once; results do not depend on it
  int64_t top_k_signals = 0;
};

// The sequences to write, asked for one at a time as there is room; nothing ends them. It may use the workspace itself.
using BatchSource = std::function<std::optional<BatchSequence>()>;

// Continuous batching: a sequence that ends makes room for the next. Calls `on_result` in the order of the source; it
// answers Stop when it has enough, and the sequences still under way are dropped.
void generate_batch(const Model& model, const BatchSource& source, const BatchOptions& options, Workspace& work,
                    const std::function<Flow(BatchResult result)>& on_result, const Progress& progress = {});

}  // namespace attar::runtime
