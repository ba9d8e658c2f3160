#include "distill/labels.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "compress/signal/sampled_signal.h"

namespace attar {
namespace {

// The teacher's word on one token: tokens and log-probabilities, -1 for those that the student does not have.
struct Word {
  std::vector<int32_t> ids{};
  std::vector<float> log_probs{};
  double kept = 0.0, cut = 0.0;  // mass
  float entropy = -1.0f;         // of a sampled signal
};

Word word_of(const SampledRow& row) {
  Word word{.cut = row.cut, .entropy = static_cast<float>(row.entropy)};
  if (row.empty()) return word;
  word.kept = 1.0 - row.cut;
  for (const TokenShare& share : shares_of(row)) {
    word.ids.push_back(share.id);
    word.log_probs.push_back(static_cast<float>(std::log(share.probability)));
  }
  return word;
}

// The words of a document on its tokens [begin, end).
class Words {
 public:
  Words(const TokenDataset& data, const TokenDocument& document, size_t begin, size_t end)
      : document_(document), k_(static_cast<size_t>(data.signal_k)), width_(data.hidden_width), begin_(begin) {
    if (!document.sampled_signal.empty())
      sampled_ = decode_rows(document.sampled_signal, static_cast<int>(data.sampled.id_bits), begin, end);
  }
  Word at(size_t token) const {
    if (!sampled_.empty()) return word_of(sampled_[token - begin_]);
    Word word;
    if (has_state(document_.hidden, token, width_)) word.kept = 1.0;
    if (document_.signal_ids.empty()) return word;
    for (size_t j = token * k_; j < (token + 1) * k_; ++j) {
      word.ids.push_back(document_.signal_ids[j]);
      word.log_probs.push_back(document_.signal_log_probs[j]);
      (word.ids.back() >= 0 ? word.kept : word.cut) += std::exp(static_cast<double>(word.log_probs.back()));
    }
    return word;
  }

 private:
  const TokenDocument& document_;
  size_t k_;
  int64_t width_;
  size_t begin_;
  std::vector<SampledRow> sampled_;  // of those tokens
};

// visit(row, target, weight, word) for each row of the loss: `word` is empty without a cached signal.
template <class Visit>
void for_each_loss_row(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source, Visit&& visit) {
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = data.documents[static_cast<size_t>(piece.document)];
    const auto begin = static_cast<size_t>(piece.begin), end = static_cast<size_t>(piece.begin + piece.length);
    const bool cached = source == SignalSource::Cached;
    const std::optional<Words> words = cached ? std::optional<Words>(Words(data, document, begin, end)) : std::nullopt;
    for (size_t token = begin + 1; token < end; ++token)
      if (document.in_loss[token] != 0)
        visit(row + static_cast<int64_t>(token - begin) - 1, document.tokens[token],
              document.weights.empty() ? 1.0f : document.weights[token], words ? words->at(token) : Word{});
    row += piece.length;
  }
}

// Entries of row i; -1 and -infinity where it has fewer than the longest.
TopKSignal packed(const std::vector<Word>& words) {
  size_t k = 0;
  bool sampled = false;
  for (const Word& word : words) k = std::max(k, word.ids.size()), sampled = sampled || word.entropy >= 0.0f;
  const auto n = static_cast<int64_t>(words.size()), width = static_cast<int64_t>(k);
  TopKSignal signal{at::full({n, width}, -1, at::kLong),
                    at::full({n, width}, -std::numeric_limits<float>::infinity(), at::kFloat)};
  if (sampled) signal.entropies = at::zeros({n}, at::kFloat);
  for (size_t i = 0; i < words.size(); ++i) {
    std::copy(words[i].ids.begin(), words[i].ids.end(), signal.ids.data_ptr<int64_t>() + i * k);
    std::copy(words[i].log_probs.begin(), words[i].log_probs.end(), signal.log_probs.data_ptr<float>() + i * k);
    if (sampled) signal.entropies.data_ptr<float>()[i] = std::max(0.0f, words[i].entropy);
  }
  return signal;
}

// (N, C); rows without a state are 0.
at::Tensor states_of(const TokenDataset& data, const std::vector<Piece>& pieces, int64_t n) {
  const auto width = static_cast<size_t>(data.hidden_width);
  at::Tensor states = at::zeros({n, data.hidden_width}, at::kFloat);
  float* out = states.data_ptr<float>();
  for (const Piece& piece : pieces) {
    const HiddenStates& of = data.documents[static_cast<size_t>(piece.document)].hidden;
    for (int64_t i = 0; i < piece.length; ++i, out += width)  // row i predicts the token behind it
      if (i + 1 < piece.length && !of.empty()) decode_state(of, static_cast<size_t>(piece.begin + i + 1), {out, width});
  }
  return states;
}

}  // namespace

Labels labels_of(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source) {
  int64_t n = 0;
  for (const Piece& piece : pieces) n += piece.length;
  Labels labels{at::zeros({n}, at::kLong), at::zeros({n}, at::kBool), at::zeros({n}, at::kBool), {}, {}};
  auto* next = labels.next.data_ptr<int64_t>();
  auto *signalled = labels.signalled.data_ptr<bool>(), *unsignalled = labels.unsignalled.data_ptr<bool>();
  std::vector<Word> words(source == SignalSource::Cached ? static_cast<size_t>(n) : 0);
  for_each_loss_row(data, pieces, source, [&](int64_t row, int32_t token, float weight, Word word) {
    next[row] = token;
    if (weight != 1.0f && !labels.weights.defined()) labels.weights = at::ones({n}, at::kFloat);
    if (labels.weights.defined()) labels.weights.data_ptr<float>()[row] = weight;
    const bool silent = source == SignalSource::Cached && word.kept <= 0.0;
    (silent ? unsignalled : signalled)[row] = true;
    if (source == SignalSource::Cached && !silent) words[static_cast<size_t>(row)] = std::move(word);
  });
  if (source == SignalSource::Cached && data.hidden_width > 0)
    labels.states = states_of(data, pieces, n);
  else if (source == SignalSource::Cached)
    labels.signal = packed(words);
  if (source == SignalSource::Aligned) labels.aligned = aligned_rows(data, pieces);
  return labels;
}

LossTokens& LossTokens::operator+=(const LossTokens& other) {
  count += other.count;
  weight += other.weight;
  unsignalled += other.unsignalled;
  weighed += other.weighed;
  dropped_mass += other.dropped_mass;
  return *this;
}

LossTokens loss_tokens(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source) {
  LossTokens out;
  for_each_loss_row(data, pieces, source, [&](int64_t, int32_t, float weight, const Word& word) {
    ++out.count;
    out.weight += static_cast<double>(weight);
    if (source != SignalSource::Cached) return;
    out.unsignalled += word.kept <= 0.0 ? 1 : 0;
    out.weighed += word.kept + word.cut > 0.0 ? 1 : 0;
    out.dropped_mass += word.cut;
  });
  return out;
}

}  // namespace attar
