#include "prune/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "runtime/base/error.h"
#include "runtime/formats/bpe.h"
#include "runtime/formats/spm.h"

namespace attar {
namespace {

// Which two tokens each token is merged from first: its ancestors. -1: it is not merged.
struct Parents {
  int32_t left = -1, right = -1;
  int64_t order = INT64_MAX;  // rank of the merge (BPE), or place by score (SPM): small is early
};

std::unordered_map<std::string_view, int32_t> ids_of(const TokenizerData& data) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) ids.emplace(data.tokens[id].text, static_cast<int32_t>(id));
  return ids;
}

std::vector<Parents> bpe_parents(const TokenizerData& data) {
  const auto ids = ids_of(data);
  std::vector<Parents> parents(data.tokens.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& [left, right] = data.merges[rank];
    Parents& merged = parents[static_cast<size_t>(ids.at(left + right))];
    if (merged.left < 0) merged = {ids.at(left), ids.at(right), static_cast<int64_t>(rank)};
  }
  return parents;
}

// SPM merges any two tokens whose joined text is one: the split whose worse half has the best score is how it comes about.
std::vector<Parents> spm_parents(const TokenizerData& data) {
  const auto ids = ids_of(data);
  std::vector<size_t> by_score(data.tokens.size());
  std::iota(by_score.begin(), by_score.end(), size_t{0});
  std::stable_sort(by_score.begin(), by_score.end(), [&](size_t a, size_t b) { return data.tokens[a].score > data.tokens[b].score; });
  std::vector<int64_t> place(data.tokens.size());
  for (size_t i = 0; i < by_score.size(); ++i) place[by_score[i]] = static_cast<int64_t>(i);
  std::vector<Parents> parents(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].kind != TokenKind::Normal) continue;
    const std::string_view text = data.tokens[id].text;
    float best = -HUGE_VALF;
    for (size_t at = 1; at < text.size(); ++at) {
      if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;  // not between characters
      const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      const float worse = std::min(data.tokens[static_cast<size_t>(left->second)].score, data.tokens[static_cast<size_t>(right->second)].score);
      if (worse > best || parents[id].left < 0) parents[id] = {left->second, right->second, place[id]};
      best = std::max(best, worse);
    }
  }
  return parents;
}

// Keeps tokens together with everything they are merged from.
class Keeper {
 public:
  Keeper(std::vector<Parents> parents, int64_t target) : parents_(std::move(parents)), kept_(parents_.size(), 0), target_(target) {}

  int64_t count() const { return count_; }
  bool kept(size_t id) const { return kept_[id] != 0; }
  void keep(int32_t id) {
    if (id < 0 || kept_[static_cast<size_t>(id)] != 0) return;
    kept_[static_cast<size_t>(id)] = 1;
    ++count_;
    keep(parents_[static_cast<size_t>(id)].left);
    keep(parents_[static_cast<size_t>(id)].right);
  }
  // Keeps a token when it and its missing ancestors still fit.
  void keep_if_room(int32_t id) {
    if (count_ + missing(id) <= target_) keep(id);
  }
  int64_t order(size_t id) const { return parents_[id].order; }

 private:
  int64_t missing(int32_t id) const {
    if (id < 0 || kept_[static_cast<size_t>(id)] != 0) return 0;
    return 1 + missing(parents_[static_cast<size_t>(id)].left) + missing(parents_[static_cast<size_t>(id)].right);
  }

  std::vector<Parents> parents_;
  std::vector<uint8_t> kept_;
  int64_t target_;
  int64_t count_ = 0;
};

bool is_indispensable(const TokenizerData& data, size_t id) {
  const Token& token = data.tokens[id];
  if (token.kind == TokenKind::Byte || token.kind == TokenKind::Control || token.kind == TokenKind::Unknown) return true;
  const auto own = static_cast<int32_t>(id);
  if (own == data.bos || own == data.eos || own == data.eot || own == data.unknown || own == data.padding) return true;
  return data.kind == TokenizerKind::Bpe && byte_unmapped(token.text).size() == 1;
}

TokenizerData restricted(const TokenizerData& data, const std::vector<int32_t>& kept) {
  TokenizerData out = data;
  out.tokens.clear();
  out.merges.clear();
  std::vector<int32_t> new_id(data.tokens.size(), -1);
  for (const int32_t id : kept) {
    new_id[static_cast<size_t>(id)] = static_cast<int32_t>(out.tokens.size());
    out.tokens.push_back(data.tokens[static_cast<size_t>(id)]);
  }
  const auto ids = ids_of(data);
  const auto stays = [&](const std::string& text) { return new_id[static_cast<size_t>(ids.at(text))] >= 0; };
  for (const auto& merge : data.merges)
    if (stays(merge.first) && stays(merge.second) && stays(merge.first + merge.second)) out.merges.push_back(merge);
  for (int32_t* id : {&out.bos, &out.eos, &out.eot, &out.unknown, &out.padding})
    if (*id >= 0) *id = new_id[static_cast<size_t>(*id)];
  out.end_of_generation.clear();
  for (const int32_t id : data.end_of_generation)
    if (new_id[static_cast<size_t>(id)] >= 0) out.end_of_generation.push_back(new_id[static_cast<size_t>(id)]);
  return out;
}

// Spells a dropped token with what is left of the vocabulary, as it would stand in the middle of a text.
class Speller {
 public:
  explicit Speller(const TokenizerData& data) {
    if (data.kind == TokenizerKind::Bpe) bpe_.emplace(data);
    else spm_.emplace(data);
  }
  std::vector<int32_t> operator()(const Token& dropped) const {
    std::vector<int32_t> ids;
    if (bpe_) bpe_->encode(byte_unmapped(dropped.text), ids);
    else spm_->encode(dropped.text, ids);
    return ids;
  }

 private:
  std::optional<BpeEncoder> bpe_;
  std::optional<SpmEncoder> spm_;
};

}  // namespace

VocabularyCut trim_vocabulary(const TokenizerData& tokenizer, const std::vector<int64_t>& counts, int64_t target) {
  const auto size = static_cast<int64_t>(tokenizer.tokens.size());
  if (target >= size) {
    VocabularyCut whole{tokenizer, std::vector<int32_t>(tokenizer.tokens.size())};
    std::iota(whole.kept.begin(), whole.kept.end(), 0);
    return whole;
  }
  Keeper keeper(tokenizer.kind == TokenizerKind::Bpe ? bpe_parents(tokenizer) : spm_parents(tokenizer), target);
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id)
    if (is_indispensable(tokenizer, id)) keeper.keep(static_cast<int32_t>(id));
  if (keeper.count() > target)
    throw usage_error("vocab", "is too small for the bytes and special tokens", "at least " + std::to_string(keeper.count()), std::to_string(target));
  // What the data uses, the most used first, then the earliest merges, which are the commonest of the language.
  std::vector<int32_t> order(tokenizer.tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const int64_t ca = counts[static_cast<size_t>(a)], cb = counts[static_cast<size_t>(b)];
    return ca != cb ? ca > cb : keeper.order(static_cast<size_t>(a)) < keeper.order(static_cast<size_t>(b));
  });
  for (const int32_t id : order)
    if (tokenizer.tokens[static_cast<size_t>(id)].kind != TokenKind::Unused) keeper.keep_if_room(id);
  VocabularyCut cut;
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id)
    if (keeper.kept(id)) cut.kept.push_back(static_cast<int32_t>(id));
  cut.tokenizer = restricted(tokenizer, cut.kept);
  return cut;
}

std::vector<int64_t> count_tokens(const TokenDataset& data, int64_t vocab_size) {
  std::vector<int64_t> counts(static_cast<size_t>(vocab_size), 0);
  for (const TokenDocument& document : data.documents)
    for (const int32_t id : document.tokens) ++counts[static_cast<size_t>(id)];
  return counts;
}

TokenDataset remap_dataset(const TokenDataset& data, const Tokenizer& old_tokenizer, const Tokenizer& new_tokenizer, const VocabularyCut& cut) {
  std::vector<int32_t> new_id(static_cast<size_t>(old_tokenizer.vocab_size()), -1);
  for (size_t i = 0; i < cut.kept.size(); ++i) new_id[static_cast<size_t>(cut.kept[i])] = static_cast<int32_t>(i);
  const Speller spell(new_tokenizer.data());
  const auto k = static_cast<size_t>(data.signal_k);
  TokenDataset out;
  out.tokenizer_hash = new_tokenizer.hash();
  out.signal_k = data.signal_k;
  for (const TokenDocument& document : data.documents) {
    TokenDocument mapped;
    const bool has_signal = !document.signal_ids.empty();
    for (size_t t = 0; t < document.tokens.size(); ++t) {
      // A token that was dropped is spelled with the tokens that are left; the teacher's signal for it is lost.
      std::vector<int32_t> pieces{new_id[static_cast<size_t>(document.tokens[t])]};
      const bool dropped = pieces[0] < 0;
      if (dropped) pieces = spell(old_tokenizer.data().tokens[static_cast<size_t>(document.tokens[t])]);
      for (const int32_t piece : pieces) {
        mapped.tokens.push_back(piece);
        mapped.in_loss.push_back(document.in_loss[t]);
        for (size_t j = 0; has_signal && j < k; ++j) {
          const int32_t id = document.signal_ids[t * k + j];
          mapped.signal_ids.push_back(dropped || id < 0 ? -1 : new_id[static_cast<size_t>(id)]);
          mapped.signal_log_probs.push_back(dropped ? -HUGE_VALF : document.signal_log_probs[t * k + j]);
        }
      }
    }
    out.documents.push_back(std::move(mapped));
  }
  return out;
}

}  // namespace attar
