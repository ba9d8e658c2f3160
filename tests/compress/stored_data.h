// Data with a signal of each kind, and the same with the signal on disk.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "compress/dataset/signal_shards.h"
#include "compress/dataset/signal_store.h"
#include "compress/signal/sampled_signal.h"
#include "runtime/base/random.h"

namespace attar {

enum class SignalKind { TopK, Sampled, Hidden };
inline constexpr SignalKind kSignalKinds[] = {SignalKind::TopK, SignalKind::Sampled, SignalKind::Hidden};
inline std::string name_of(SignalKind kind) {
  return kind == SignalKind::TopK ? "top k" : kind == SignalKind::Sampled ? "sampled" : "hidden";
}

// The word of a teacher that random numbers make up, or none, on the next token of the document.
inline void add_word(TokenDocument& document, const TokenDataset& of, bool silent, int64_t vocab_size, uint64_t draw) {
  const CounterRandom random(31, draw);
  if (of.signal_k > 0) {
    const auto first = static_cast<int64_t>(random.below(0, static_cast<uint64_t>(vocab_size)));
    for (int64_t j = 0; j < of.signal_k; ++j) {
      document.signal_ids.push_back(silent ? -1 : static_cast<int32_t>((first + j) % vocab_size));
      document.signal_log_probs.push_back(silent ? -HUGE_VALF : std::log(0.6f / static_cast<float>(j + 1)) - 1.0f);
    }
  } else if (of.sampled.samples > 0) {
    std::vector<float> logits;
    double sum = 0.0;
    for (int64_t i = 0; i < vocab_size; ++i) {
      logits.push_back(static_cast<float>(6.0 * random.uniform(static_cast<uint64_t>(i))));
      sum += std::exp(static_cast<double>(logits.back()));
    }
    const SampledRow row =
        silent ? SampledRow{} : sample_row(logits, std::log(sum), {}, 0.0, of.sampled.samples, random.uniform(7));
    encode_row(row, static_cast<int>(of.sampled.id_bits), document.sampled_signal);
  } else if (silent) {
    append_no_state(of.hidden_width, document.hidden);
  } else {
    std::vector<float> state;
    for (int64_t i = 0; i < of.hidden_width; ++i)
      state.push_back(static_cast<float>(random.uniform(static_cast<uint64_t>(i)) - 0.5));
    append_state(state, document.hidden);
  }
}

// A signal of the documents that are learned; about every fifth token has none.
inline TokenDataset signalled_by(SignalKind kind, TokenDataset data, int64_t vocab_size, int64_t width) {
  data.signal_numerics = "fp32";
  data.origin = {"a teacher", "a text", "an option"};
  if (kind == SignalKind::TopK) data.signal_k = 3;
  if (kind == SignalKind::Sampled) data.sampled = {.samples = 8, .id_bits = id_bits_of(vocab_size)};
  if (kind == SignalKind::Hidden) data.hidden_width = width;
  const CounterRandom random(32);
  uint64_t draw = 0;
  for (TokenDocument& document : data.documents)
    if (document.lacks_signal())
      for (const uint8_t in_loss : document.in_loss) {
        const bool silent = in_loss == 0 || random.below(draw, 5) == 0;
        add_word(document, data, silent, vocab_size, draw++);
      }
  return data;
}

// The data with its signal where whole shards have it.
inline TokenDataset on_disk(const TokenDataset& data, const SignalShards& shards) {
  TokenDataset out = data;
  for (size_t d = 0; d < out.documents.size(); ++d) {
    if (!out.documents[d].has_signal()) continue;
    out.documents[d].forget_signal();
    out.documents[d].stored.place = static_cast<int64_t>(d);
  }
  out.store = shards.store();
  return out;
}
// In shards of a few documents.
inline TokenDataset on_disk(const TokenDataset& data, const std::string& path, int64_t vocab_size) {
  SignalShards shards(path, data, vocab_size, {.tokens = 40});
  for (const TokenDocument& document : data.documents) shards.add(document);
  shards.finish();
  return on_disk(data, shards);
}

inline void expect_same_signal(const TokenDocument& got, const TokenDocument& expected, const std::string& where) {
  EXPECT_EQ(got.tokens, expected.tokens) << where;
  EXPECT_EQ(got.in_loss, expected.in_loss) << where;
  EXPECT_EQ(got.weights, expected.weights) << where;
  EXPECT_EQ(got.signal_ids, expected.signal_ids) << where;
  EXPECT_EQ(got.signal_log_probs, expected.signal_log_probs) << where;
  EXPECT_EQ(got.sampled_signal, expected.sampled_signal) << where;
  EXPECT_EQ(got.hidden.codes, expected.hidden.codes) << where;
  EXPECT_EQ(got.hidden.scales, expected.hidden.scales) << where;
  EXPECT_TRUE(got.stored.empty()) << where;
}
// Of two data sets alike but for where their signals are.
inline void expect_same_signals(const TokenDataset& stored, const TokenDataset& expected, const std::string& where) {
  ASSERT_EQ(stored.documents.size(), expected.documents.size()) << where;
  for (size_t d = 0; d < expected.documents.size(); ++d)
    expect_same_signal(with_signal(stored, stored.documents[d]), expected.documents[d],
                       where + ", document " + std::to_string(d));
}

}  // namespace attar
