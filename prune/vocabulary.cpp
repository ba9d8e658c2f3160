#include "prune/vocabulary.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>

#include "runtime/base/error.h"

namespace attar {
namespace {

using IdsByText = std::unordered_map<std::string_view, int32_t>;

IdsByText ids_by_text(const TokenizerData& data) {
  IdsByText ids;
  ids.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) ids.emplace(data.tokens[id].text, static_cast<int32_t>(id));
  return ids;
}

std::string joined(const MergeList::Merge& merge) {
  return std::string(merge.first).append(merge.second);
}

// Place of each token in the order in which merging makes them: (V), low is early, the largest value for what no merge
// makes. BPE: rank of the first merge. SPM: falling score.
std::vector<int64_t> merge_order(const TokenizerData& data) {
  std::vector<int64_t> order(data.tokens.size(), INT64_MAX);
  if (data.kind == TokenizerKind::Bpe) {
    const IdsByText ids = ids_by_text(data);
    for (size_t rank = data.merges.size(); rank-- > 0;)
      order[static_cast<size_t>(ids.at(joined(data.merges[rank])))] = static_cast<int64_t>(rank);
    return order;
  }
  std::vector<size_t> by_score(data.tokens.size());
  std::iota(by_score.begin(), by_score.end(), size_t{0});
  std::stable_sort(by_score.begin(), by_score.end(),
                   [&](size_t a, size_t b) { return data.tokens[a].score > data.tokens[b].score; });
  for (size_t i = 0; i < by_score.size(); ++i) order[by_score[i]] = static_cast<int64_t>(i);
  return order;
}

// <unused7>, <|reserved_special_token_3|>: places for tokens that were never made.
bool reserves_a_place(const Token& token) {
  return token.kind == TokenKind::Unused ||
         (token.kind != TokenKind::Normal &&
          (token.text.find("unused") != std::string::npos || token.text.find("reserved") != std::string::npos));
}

bool has_role(const TokenizerData& data, int32_t id) {
  const std::vector<int32_t> ids = special_ids(data);
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool is_always_kept(const Tokenizer& tokenizer, int32_t id, bool is_counted) {
  const TokenizerData& data = tokenizer.data();
  const Token& token = data.tokens[static_cast<size_t>(id)];
  if (has_role(data, id)) return true;
  if (reserves_a_place(token)) return is_counted || data.chat_template.find(token.text) != std::string::npos;
  if (token.kind != TokenKind::Normal) return true;
  return data.kind == TokenizerKind::Bpe && tokenizer.token_bytes(id).size() == 1;
}

// Keeps tokens together with what they are merged from.
class Keeper {
 public:
  Keeper(const Tokenizer& tokenizer, int64_t target)
      : tokenizer_(tokenizer), kept_(static_cast<size_t>(tokenizer.vocab_size())), target_(target) {}

  int64_t count() const { return count_; }
  // When it and its missing ancestors fit.
  void keep_if_room(int32_t id) {
    if (count_ >= target_ || is_kept(id)) return;
    std::vector<int32_t> wanted = tokenizer_.derivation(id);
    wanted.push_back(id);
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    std::erase_if(wanted, [this](int32_t other) { return is_kept(other); });
    if (count_ + static_cast<int64_t>(wanted.size()) <= target_)
      for (const int32_t other : wanted) keep(other);
  }
  void keep(int32_t id) {
    count_ += is_kept(id) ? 0 : 1;
    kept_[static_cast<size_t>(id)] = 1;
  }
  bool is_kept(int32_t id) const { return kept_[static_cast<size_t>(id)] != 0; }

 private:
  const Tokenizer& tokenizer_;
  std::vector<uint8_t> kept_;  // (V)
  int64_t target_;
  int64_t count_ = 0;
};

TokenizerData restricted(const TokenizerData& data, const std::vector<int32_t>& kept) {
  TokenizerData out = data;
  out.tokens.clear();
  out.merges.clear();
  std::vector<int32_t> new_id(data.tokens.size(), -1);
  for (const int32_t id : kept) {
    new_id[static_cast<size_t>(id)] = static_cast<int32_t>(out.tokens.size());
    out.tokens.push_back(data.tokens[static_cast<size_t>(id)]);
  }
  const IdsByText ids = ids_by_text(data);
  const auto stays = [&](std::string_view text) { return new_id[static_cast<size_t>(ids.at(text))] >= 0; };
  for (const auto& merge : data.merges)
    if (stays(merge.first) && stays(merge.second) && stays(joined(merge))) out.merges.push_back(merge);
  const auto mapped = [&](int32_t id) { return id < 0 ? -1 : new_id[static_cast<size_t>(id)]; };
  for (int32_t* id : special_ids(out)) *id = mapped(*id);
  return out;
}

}  // namespace

VocabularyCut trim_vocabulary(const TokenizerData& data, const std::vector<int64_t>& counts, int64_t target) {
  const auto size = static_cast<int64_t>(data.tokens.size());
  std::vector<int32_t> candidates(data.tokens.size());
  std::iota(candidates.begin(), candidates.end(), 0);
  if (target >= size) return {data, candidates};
  const Tokenizer tokenizer(data);
  const auto count = [&](int32_t id) {
    return static_cast<size_t>(id) < counts.size() ? counts[static_cast<size_t>(id)] : 0;
  };
  Keeper keeper(tokenizer, target);
  for (const int32_t id : candidates)
    if (is_always_kept(tokenizer, id, count(id) > 0)) keeper.keep(id);
  if (keeper.count() > target)
    throw usage_error("keep_vocab", "is too small for the bytes and special tokens",
                      "at least " + std::to_string(keeper.count()), std::to_string(target));
  const std::vector<int64_t> order = merge_order(data);
  std::erase_if(candidates, [&](int32_t id) {
    return keeper.is_kept(id) || reserves_a_place(data.tokens[static_cast<size_t>(id)]);
  });
  std::stable_sort(candidates.begin(), candidates.end(), [&](int32_t a, int32_t b) {
    return count(a) != count(b) ? count(a) > count(b) : order[static_cast<size_t>(a)] < order[static_cast<size_t>(b)];
  });
  for (const int32_t id : candidates) keeper.keep_if_room(id);
  VocabularyCut cut;
  for (int32_t id = 0; id < size; ++id)
    if (keeper.is_kept(id)) cut.kept.push_back(id);
  cut.tokenizer = restricted(data, cut.kept);
  return cut;
}

}  // namespace attar
