#include "runtime/text/generate_batch.h"

#include <algorithm>
#include <map>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/text/batch_engine.h"

namespace attar::runtime {
namespace {

void check(const BatchOptions& options) {
  const auto need_positive = [](int64_t value, const char* name) {
    if (value < 1) throw usage_error(name, "must be positive", "at least 1", std::to_string(value));
  };
  need_positive(options.text.max_tokens, "max_tokens");
  need_positive(options.batch_size, "batch_size");
}

// Sequences in the order of their source, over an engine that ends them in any.
class Batch {
 public:
  Batch(const Model& model, const BatchOptions& options, Workspace& work)
      : model_(model),
        options_(options),
        engine_(model, work,
                {.max_sequences = std::min<int64_t>(options.batch_size, kMostAtOnce),
                 .kept_bytes = 0,
                 .draft = options.text.draft}) {}

  bool has_room() const { return under_way_ < std::min<int64_t>(options_.batch_size, kMostAtOnce); }
  bool is_empty() const { return under_way_ == 0; }

  void submit(BatchSequence sequence) {
    if (sequence.prompt.empty())
      throw usage_error("sequence " + std::to_string(sequence.id), "has an empty prompt",
                        "at least one token, such as BOS");
    BatchResult& result = results_[begun_];
    BatchRequest request;
    request.prompt = sequence.prompt;
    request.sequence = sequence.id;
    request.options = options_.text;
    request.options.draft = nullptr;  // it is the engine's
    result.prompt = std::move(sequence.prompt);
    if (options_.top_k_signals > 0)
      request.on_drawn = [&result, k = options_.top_k_signals](std::span<const float> logits) {
        result.signals.push_back(top_k_of(logits, k));
      };
    request.on_end = [this, index = begun_](const Ended& ended) { end(index, ended); };
    engine_.submit(std::move(request));
    ++begun_;
    ++under_way_;
  }
  void step(const Progress& progress) { engine_.step(progress); }

  // The next in order, where it has ended.
  std::optional<BatchResult> next() {
    const auto first = ended_.find(delivered_);
    if (first == ended_.end()) return std::nullopt;
    BatchResult result = std::move(first->second);
    ended_.erase(first);
    ++delivered_;
    return result;
  }
  size_t delivered() const { return delivered_; }

 private:
  static constexpr int64_t kMostAtOnce = 512;

  void end(size_t index, const Ended& ended) {
    if (ended.error) std::rethrow_exception(ended.error);
    BatchResult result = std::move(results_.at(index));
    results_.erase(index);
    result.tokens = ended.text.tokens;
    result.text = ended.text.text;
    result.reason = ended.text.reason;
    if (result.reason == StopReason::EndOfText && model_.tokenizer().ends_generation(ended.last_token))
      result.tokens.push_back(ended.last_token);
    const auto length = static_cast<int64_t>(result.prompt.size() + result.tokens.size());
    if (result.reason == StopReason::MaxTokens && length > model_.config().context_length)
      result.reason = StopReason::ContextFull;
    ended_.emplace(index, std::move(result));
    --under_way_;
  }

  const Model& model_;
  const BatchOptions& options_;
  std::map<size_t, BatchResult> results_, ended_;  // by their place in the source: under way; waiting for earlier ones
  size_t begun_ = 0, delivered_ = 0;
  int64_t under_way_ = 0;
  BatchEngine engine_;
};

}  // namespace

void generate_batch(const Model& model, const BatchSource& source, const BatchOptions& options, Workspace& work,
                    const std::function<Flow(BatchResult result)>& on_result, const Progress& progress) {
  check(options);
  Batch batch(model, options, work);
  bool more = true;
  Event texts{.stage = "generate", .unit = "texts"};
  const Progress between_passes = inside(progress, texts);
  while (true) {
    while (more && batch.has_room()) {
      std::optional<BatchSequence> sequence = source();
      more = sequence.has_value();
      if (more) batch.submit(std::move(*sequence));
    }
    if (batch.is_empty()) return;
    batch.step(between_passes);
    while (std::optional<BatchResult> result = batch.next())
      if (on_result(std::move(*result)) == Flow::Stop) return;
    texts.done = static_cast<int64_t>(batch.delivered());
    report(progress, texts);
  }
}

}  // namespace attar::runtime
