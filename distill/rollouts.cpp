#include "distill/rollouts.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

enum Stream : uint64_t { kStep = 0x6f6e706f, kPrompt, kReplay };  // of draws that must not meet; kReplay + step

// Texts kept for replay, in writings.
constexpr int64_t kKeptWritings = 4;

// What the student goes on from: of a chat all that comes before its first answer, of a plain text its first tokens.
// Empty: nothing that leaves room for a text.
std::vector<int32_t> prompt_of(const TokenDocument& document, const DistillOptions& options) {
  const auto first = std::find(document.in_loss.begin(), document.in_loss.end(), uint8_t{1});
  auto length = static_cast<int64_t>(first - document.in_loss.begin());
  if (length <= 1) length = options.rollout_prompt_tokens;
  const auto all = static_cast<int64_t>(document.tokens.size());
  const int64_t room = options.sequence_tokens - options.rollout_tokens;
  if (first == document.in_loss.end() || length >= all || length > room) return {};
  return {document.tokens.begin(), document.tokens.begin() + length};
}

TokenDocument document_of(std::vector<int32_t> prompt, const Rollout& rollout) {
  TokenDocument document{.tokens = std::move(prompt), .in_loss = {}, .signal_ids = {}, .signal_log_probs = {}};
  document.in_loss.assign(document.tokens.size(), 0);
  document.tokens.insert(document.tokens.end(), rollout.tokens.begin(), rollout.tokens.end());
  document.in_loss.resize(document.tokens.size(), 1);
  return document;
}

}  // namespace

Rollouts::Rollouts(const TokenDataset& data, const RolloutWriter& write, const DistillOptions& options, uint64_t seed,
                   RolloutState& state)
    : write_(write), options_(options), seed_(seed), state_(state), batch_{.tokenizer_hash = data.tokenizer_hash} {
  if (options.on_policy == 0.0) return;
  if (!write) throw usage_error("distill.on_policy", "nothing here can write with the student");
  for (const TokenDocument& document : data.documents)
    if (std::vector<int32_t> prompt = prompt_of(document, options); !prompt.empty())
      prompts_.push_back(std::move(prompt));
  if (prompts_.empty())
    throw input_error("distill.on_policy", "no document begins with what the student could go on from",
                      "texts longer than rollout_prompt_tokens, or chats whose first question leaves room for "
                      "rollout_tokens within sequence_tokens",
                      "", "lower rollout_prompt_tokens or rollout_tokens, or raise sequence_tokens");
}

bool Rollouts::takes(int64_t step) const {
  return CounterRandom(seed_, kStep).uniform(static_cast<uint64_t>(step)) < options_.on_policy;
}

TrainingBatch Rollouts::next(const CausalLM& student, int64_t step, const Progress& progress) {
  if (state_.unread == 0) write_more(student, progress);
  batch_.documents.clear();
  const CounterRandom random(seed_, kReplay + static_cast<uint64_t>(step));
  TrainingBatch batch{.data = &batch_, .pieces = {}, .tokens = {}, .by_student = true};
  for (uint64_t draw = 0; state_.unread > 0; draw += 2) {
    const size_t read = state_.kept.size() - static_cast<size_t>(state_.unread);
    const bool again = read > 0 && random.uniform(draw) < options_.replay;
    const TokenDocument& text = state_.kept[again ? random.below(draw + 1, read) : read];
    const int64_t count = std::count(text.in_loss.begin(), text.in_loss.end(), uint8_t{1});
    if (!batch.pieces.empty() && batch.tokens.count + count > options_.batch_tokens) break;
    if (!again) --state_.unread;
    batch.pieces.push_back(
        {static_cast<int64_t>(batch_.documents.size()), 0, static_cast<int64_t>(text.tokens.size())});
    batch_.documents.push_back(text);
    batch.tokens.count += count, batch.tokens.weight += static_cast<double>(count);
  }
  return batch;
}

void Rollouts::write_more(const CausalLM& student, const Progress& progress) {
  const CounterRandom random(seed_, kPrompt);
  RolloutRequest request{.first_id = state_.begun,
                         .seed = seed_,
                         .max_tokens = options_.rollout_tokens,
                         .temperature = options_.rollout_temperature};
  for (int64_t i = 0; i < options_.rollouts; ++i)
    request.prompts.push_back(prompts_[random.below(state_.begun + static_cast<uint64_t>(i), prompts_.size())]);
  const std::vector<Rollout> written = write_(student, request, progress);
  const auto most = static_cast<size_t>(kKeptWritings * options_.rollouts);
  for (size_t i = 0; i < written.size(); ++i) {
    state_.kept.push_back(document_of(std::move(request.prompts[i]), written[i]));
    state_.tokens += static_cast<int64_t>(written[i].tokens.size());
    state_.ended += written[i].ended ? 1 : 0;
  }
  if (state_.kept.size() > most)
    state_.kept.erase(state_.kept.begin(), state_.kept.end() - static_cast<std::ptrdiff_t>(most));
  state_.begun += written.size();
  state_.unread = static_cast<int64_t>(written.size());
}

}  // namespace attar
