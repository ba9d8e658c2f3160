#include "compress/token_dataset.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "compress/dataset/signal_rows.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace attar {

int64_t TokenDataset::token_count() const {
  int64_t count = 0;
  for (const TokenDocument& document : documents) count += static_cast<int64_t>(document.tokens.size());
  return count;
}

int64_t TokenDataset::longest_tokens() const {
  size_t longest = 0;
  for (const TokenDocument& document : documents) longest = std::max(longest, document.tokens.size());
  return static_cast<int64_t>(longest);
}

int64_t TokenDataset::loss_token_count() const {
  int64_t count = 0;
  for (const TokenDocument& document : documents)
    for (size_t i = 1; i < document.in_loss.size(); ++i) count += document.in_loss[i];
  return count;
}

bool TokenDataset::has_weights() const {
  return std::any_of(documents.begin(), documents.end(), [](const TokenDocument& d) { return !d.weights.empty(); });
}

void TokenDocument::forget_signal() {
  signal_ids.clear(), signal_log_probs.clear(), sampled_signal.clear();
  hidden = {}, stored = {};
}

bool TokenDocument::lacks_signal() const {
  return !has_signal() && std::find(in_loss.begin(), in_loss.end(), uint8_t{1}) != in_loss.end();
}

int64_t TokenDataset::documents_without_signal() const {
  return std::count_if(documents.begin(), documents.end(), [](const TokenDocument& d) { return d.lacks_signal(); });
}

TokenDataset dataset_of(const Tokenizer& tokenizer) {
  return {.tokenizer_hash = tokenizer.hash(), .bos = tokenizer.start().empty() ? -1 : tokenizer.start()[0]};
}

namespace {

// Files and fingerprints know no weights of nothing.
void forget_idle_weights(TokenDocument& document) {
  if (std::find(document.in_loss.begin(), document.in_loss.end(), uint8_t{1}) == document.in_loss.end())
    document.weights.clear();
}

}  // namespace

DocumentTokenizer::DocumentTokenizer(const Tokenizer& tokenizer, const TextDataOptions& options)
    : tokenizer_(tokenizer),
      end_of_text_(options.end_of_text),
      reader_(tokenizer, {.chat_template = options.chat_template}) {}

TokenDataset DocumentTokenizer::operator()(const std::vector<Document>& documents) {
  TokenDataset dataset = dataset_of(tokenizer_);
  for (const Document& document : documents)
    for (const ModelText& text : reader_.read(document)) {
      const EncodedText encoded = encode(tokenizer_, text);
      TokenDocument out{encoded.ids, counted_tokens(encoded, text), {}, {}};
      out.weights = token_weights(encoded, text);
      const TokenizerData& data = tokenizer_.data();
      if (!document.is_chat() && (end_of_text_ || data.add_eos) && data.eos >= 0) {
        out.tokens.push_back(data.eos);
        out.in_loss.push_back(text.counted.empty() ? 0 : 1);
        if (!text.weights.empty()) out.weights.push_back(text.weights.back());
      }
      forget_idle_weights(out);
      dataset.documents.push_back(std::move(out));
    }
  return dataset;
}

TokenDataset tokenize_documents(const std::vector<Document>& documents, const Tokenizer& tokenizer,
                                const TextDataOptions& options) {
  return DocumentTokenizer(tokenizer, options)(documents);
}

namespace {

// Tokens [begin, end) of a document as one of their own, behind `bos` (-1: nothing).
TokenDocument part_of(const TokenDocument& document, TokenRange range, int32_t bos, const TokenDataset& of) {
  TokenDocument out;
  const auto copy = [&](const auto& from, auto& to, auto of_bos) {
    if (from.empty()) return;
    to.assign(from.begin() + static_cast<std::ptrdiff_t>(range.begin),
              from.begin() + static_cast<std::ptrdiff_t>(range.end));
    if (bos >= 0) to.insert(to.begin(), of_bos);
  };
  copy(document.tokens, out.tokens, bos);
  copy(document.in_loss, out.in_loss, uint8_t{0});
  copy(document.weights, out.weights, 0.0f);
  forget_idle_weights(out);
  std::vector<int32_t> rows;
  if (bos >= 0) rows.push_back(-1);
  for (size_t t = range.begin; t < range.end; ++t) rows.push_back(static_cast<int32_t>(t));
  hand_on_signal(document, of, rows, {}, out);
  return out;
}

}  // namespace

TokenDataset cut_documents(const TokenDataset& dataset, int64_t max_tokens) {
  const auto most = static_cast<size_t>(std::max<int64_t>(max_tokens, dataset.bos < 0 ? 1 : 2));
  TokenDataset out = dataset.without_documents();
  for (const TokenDocument& document : dataset.documents) {
    if (!document.tokens.empty() && document.tokens.size() <= most) {
      out.documents.push_back(document);
      continue;
    }
    for (const TokenRange range : windows_of(document.tokens.size(), most, dataset.bos < 0 ? 0 : 1))
      out.documents.push_back(part_of(document, range, range.begin > 0 ? dataset.bos : -1, dataset));
  }
  return out;
}

std::vector<std::vector<Piece>> pack(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                     uint64_t seed, int64_t epoch) {
  std::vector<Piece> pieces;
  for (size_t d = 0; d < dataset.documents.size(); ++d) {
    const auto length = static_cast<int64_t>(dataset.documents[d].tokens.size());
    for (int64_t begin = 0; length - begin >= 2; begin += max_tokens)
      pieces.push_back({static_cast<int64_t>(d), begin, std::min(max_tokens, length - begin)});
  }
  const CounterRandom random(seed, static_cast<uint64_t>(epoch));  // Fisher-Yates with counted draws
  for (size_t i = pieces.size(); i > 1; --i) std::swap(pieces[i - 1], pieces[random.below(i, i)]);
  std::vector<std::vector<Piece>> batches;
  int64_t room = 0;
  for (const Piece& piece : pieces) {
    if (piece.length < 2) continue;
    const int64_t predicted = piece.length - 1;
    if (batches.empty() || room < predicted) {
      batches.emplace_back();
      room = std::max(batch_tokens, predicted);
    }
    batches.back().push_back(piece);
    room -= predicted;
  }
  return batches;
}

TokenBatch to_batch(const TokenDataset& dataset, const std::vector<Piece>& pieces) {
  int64_t n = 0;
  for (const Piece& piece : pieces) n += piece.length;
  TokenBatch batch{at::empty({n}, at::kLong), at::empty({n}, at::kLong), {}};
  auto* tokens = batch.tokens.data_ptr<int64_t>();
  auto* positions = batch.positions.data_ptr<int64_t>();
  int64_t at = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = dataset.documents[static_cast<size_t>(piece.document)];
    for (int64_t i = 0; i < piece.length; ++i, ++at) {
      tokens[at] = document.tokens[static_cast<size_t>(piece.begin + i)];
      positions[at] = i;
    }
    batch.lengths.push_back(piece.length);
  }
  return batch;
}

std::vector<TokenBatch> batches_in_order(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                         int64_t limit_tokens) {
  const TokenDataset cut = cut_documents(dataset, max_tokens);
  std::vector<TokenBatch> batches;
  std::vector<Piece> pieces;
  int64_t held = 0, total = 0;
  const auto flush = [&] {
    if (!pieces.empty()) batches.push_back(to_batch(cut, pieces));
    pieces.clear();
    held = 0;
  };
  for (size_t d = 0; d < cut.documents.size() && (limit_tokens == 0 || total < limit_tokens); ++d) {
    int64_t take = static_cast<int64_t>(cut.documents[d].tokens.size());
    if (limit_tokens > 0) take = std::min(take, limit_tokens - total);
    if (held > 0 && held + take > batch_tokens) flush();
    pieces.push_back({static_cast<int64_t>(d), 0, take});
    held += take;
    total += take;
  }
  flush();
  return batches;
}

}  // namespace attar
