#include "recipes/data/splits.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "recipes/schema/inputs.h"
#include "runtime/base/random.h"
#include "runtime/base/words/utf8.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

constexpr size_t kRunWords = 13;  // the n-gram of Brown et al. 2020, appendix C

// A character of a word as it is compared: a letter, mark or digit of any script, small. 0: it stands between words.
uint32_t compared_character(uint32_t c) {
  if (c >= 0x80) return is_word(c) ? small_letter(c) : 0;
  const uint32_t small = c | 32;
  return c >= '0' && c <= '9' ? c : small >= 'a' && small <= 'z' ? small : 0;
}

bool is_apostrophe(uint32_t c) {
  return c == '\'' || c == 0x2019;
}

template <class Visit>
void for_each_run(const std::string& text, Visit&& visit) {
  std::deque<uint64_t> words;
  uint64_t word = 0;
  const auto end_word = [&] {
    if (word == 0) return true;
    words.push_back(word);
    word = 0;
    if (words.size() > kRunWords) words.pop_front();
    if (words.size() < kRunWords) return true;
    uint64_t run = 0xcbf29ce484222325;
    for (const uint64_t hash : words) run = (run ^ hash) * 0x100000001b3;
    return visit(run);
  };
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);  // 0: a byte that is no UTF-8 stands between words
    const uint32_t raw = length == 0 ? 0 : decode_utf8(text, at).code_point, c = compared_character(raw);
    at += std::max<size_t>(length, 1);
    if (c != 0) {
      word = ((word == 0 ? 0xcbf29ce484222325 : word) ^ c) * 0x100000001b3;
    } else if (!is_apostrophe(raw) && !end_word()) {
      return;
    }
  }
  end_word();
}

void append_runs(const std::string& text, std::vector<uint64_t>& runs) {
  for_each_run(text, [&](uint64_t run) {
    runs.push_back(run);
    return true;
  });
}

// The text that counts in the loss.
std::string learned_text(const TokenDocument& document, const Tokenizer& tokenizer) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < document.tokens.size(); ++i)
    if (document.in_loss[i] != 0) tokens.push_back(document.tokens[i]);
  return tokenizer.decode(tokens);
}

}  // namespace

std::vector<Document> evaluation_documents(const Recipe& recipe) {
  std::vector<Document> all;
  for (const DataSource& source : recipe.evaluation)
    for (Document& document : recipe_documents(recipe, source.file)) all.push_back(std::move(document));
  return all;
}

WordRuns::WordRuns(std::vector<uint64_t> runs) : runs_(std::move(runs)) {
  std::sort(runs_.begin(), runs_.end());
}

bool WordRuns::shares_one_with(const std::string& text) const {
  bool found = false;
  for_each_run(text, [&](uint64_t run) {
    found = std::binary_search(runs_.begin(), runs_.end(), run);
    return !found;
  });
  return found;
}

WordRuns runs_of(const std::vector<Document>& documents) {
  std::vector<uint64_t> runs;
  for (const Document& document : documents) append_runs(document_text(document), runs);
  return WordRuns(std::move(runs));
}

WordRuns runs_of_learned_text(const TokenDataset& dataset, const Tokenizer& tokenizer) {
  std::vector<uint64_t> runs;
  for (const TokenDocument& document : dataset.documents) append_runs(learned_text(document, tokenizer), runs);
  return WordRuns(std::move(runs));
}

void drop_overlapping(TokenDataset& dataset, const Tokenizer& tokenizer, Splits& splits) {
  std::erase_if(dataset.documents, [&](const TokenDocument& document) {
    const bool evaluated = splits.evaluation.shares_one_with(tokenizer.decode(document.tokens));
    const bool trained = !evaluated && splits.train.shares_one_with(learned_text(document, tokenizer));
    splits.in_evaluation += evaluated ? 1 : 0;
    splits.in_train += trained ? 1 : 0;
    return evaluated || trained;
  });
}

namespace {

std::vector<size_t> shuffled(size_t n, uint64_t seed, uint64_t stream) {
  const CounterRandom random(seed, stream);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return random.bits(a) < random.bits(b); });
  return order;
}

}  // namespace

TokenDataset drawn_tokens(const TokenDataset& dataset, int64_t tokens, uint64_t seed, uint64_t stream) {
  std::vector<size_t> drawn;
  int64_t held = 0;
  for (const size_t i : shuffled(dataset.documents.size(), seed, stream)) {
    if (held >= tokens) break;
    drawn.push_back(i), held += static_cast<int64_t>(dataset.documents[i].tokens.size());
  }
  std::sort(drawn.begin(), drawn.end());
  TokenDataset out{dataset.tokenizer_hash, 0, {}, {}, dataset.bos};
  for (const size_t i : drawn)
    out.documents.push_back({dataset.documents[i].tokens, dataset.documents[i].in_loss, {}, {}});
  return out;
}

TokenDataset weighted(TokenDataset dataset, double weight, uint64_t seed, uint64_t stream) {
  if (weight == 1.0) return dataset;
  const size_t n = dataset.documents.size();
  const auto wanted =
      std::max<size_t>(std::min<size_t>(n, 1), static_cast<size_t>(std::llround(weight * static_cast<double>(n))));
  const std::vector<size_t> drawn = shuffled(n, seed, stream);
  std::vector<size_t> copies(n, n == 0 ? 0 : wanted / n);
  for (size_t i = 0; n > 0 && i < wanted % n; ++i) ++copies[drawn[i]];
  TokenDataset out = dataset.without_documents();
  for (size_t i = 0; i < n; ++i) out.documents.insert(out.documents.end(), copies[i], dataset.documents[i]);
  return out;
}

}  // namespace attar
