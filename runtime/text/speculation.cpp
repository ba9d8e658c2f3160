#include "runtime/text/speculation.h"

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/judge/score.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLeastMatch = 2, kMostMatch = 8;  // tokens of an occurrence that are compared

// How many of the tokens before `end` are those at the end of the text, up to kMostMatch.
int64_t match_before(std::span<const int32_t> text, size_t end) {
  const size_t n = text.size(), most = std::min(end, static_cast<size_t>(kMostMatch));
  size_t same = 0;
  while (same < most && text[end - 1 - same] == text[n - 1 - same]) ++same;
  return static_cast<int64_t>(same);
}

bool same_tokens(const Model& a, const Model& b) {
  const std::vector<Token>&one = a.tokenizer().data().tokens, &other = b.tokenizer().data().tokens;
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const Token& x, const Token& y) { return x.text == y.text && x.kind == y.kind; });
}

}  // namespace

std::vector<int32_t> looked_up(std::span<const int32_t> text, int64_t most) {
  if (most <= 0) return {};
  size_t best = 0;
  int64_t longest = kLeastMatch - 1;
  for (size_t end = text.empty() ? 0 : text.size() - 1; end > 0 && longest < kMostMatch; --end)
    if (const int64_t length = match_before(text, end); length > longest) best = end, longest = length;
  if (best == 0) return {};
  const auto behind = text.subspan(best);
  return {behind.begin(), behind.begin() + std::min(most, static_cast<int64_t>(behind.size()))};
}

void GuessLength::saw(int64_t guessed, int64_t accepted) {
  if (guessed == 0) return;
  next_ = accepted == guessed ? std::min(most_, 2 * next_) : std::max<int64_t>(1, std::min(next_, accepted + 1));
}

struct Draft::State {
  Model model;
  Workspace work;
  KvCache cache;
  int64_t vocab_size;         // that both have
  std::vector<int32_t> held;  // what the cache has read

  State(Model loaded, const Model& of, ThreadPool& threads)
      : model(std::move(loaded)),
        work(model, threads),
        cache(model),
        vocab_size(std::min(model.config().vocab_size, of.config().vocab_size)) {}

  void read(std::span<const int32_t> tokens, const Progress& progress) {
    std::vector<Row> rows;
    for (size_t i = 0; i < tokens.size(); ++i) rows.push_back({&cache, tokens[i], i + 1 == tokens.size()});
    forward(model, rows, work, progress, Answers::Summed);
    held.insert(held.end(), tokens.begin(), tokens.end());
  }
};

Draft::Draft(Model model, const Model& of, ThreadPool& threads) {
  if (!same_tokens(model, of))
    throw usage_error("--draft", "has another vocabulary than the model", of.source() + "'s tokens", model.source());
  state_ = std::make_unique<State>(std::move(model), of, threads);
}
Draft::~Draft() = default;

std::vector<int32_t> Draft::guess(std::span<const int32_t> text, int64_t most, const SampleOptions& sampling,
                                  uint64_t seed, const GrammarCursor* grammar, const Progress& progress) {
  State& s = *state_;
  const int64_t room = s.model.config().context_length - static_cast<int64_t>(text.size()) + 1;
  most = std::min(most, room);
  if (most <= 0) return {};
  size_t common = 0;
  while (common < s.held.size() && common + 1 < text.size() && s.held[common] == text[common]) ++common;
  s.cache.truncate(static_cast<int64_t>(common));
  s.held.resize(common);
  s.read(text.subspan(common), progress);
  std::vector<int32_t> all(text.begin(), text.end());
  std::optional<GrammarCursor> ahead;
  if (grammar != nullptr) ahead.emplace(*grammar);
  while (true) {
    SummedLogits logits = finite_logits(s.model, s.work.summed(0));
    if (s.vocab_size < s.model.config().vocab_size)  // the others are no tokens of the model's
      logits = {logits.values.first(static_cast<size_t>(s.vocab_size)), logits.lse};
    const Draw key{seed, 0, all.size()};
    const int32_t token = sample(logits, all, sampling, key, ahead ? &*ahead : nullptr).token;
    all.push_back(token);
    if (ahead) ahead->advance(token);
    if (ahead && ahead->must_end()) break;
    if (static_cast<int64_t>(all.size() - text.size()) >= most || s.model.tokenizer().ends_generation(token)) break;
    s.read(std::span(&token, 1), progress);
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(text.size()), all.end()};
}

}  // namespace attar::runtime
