#include "runtime/formats/tokenizer/files/spm_scores.h"

#include <algorithm>
#include <cstdint>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// In how many ways two tokens make this one.
size_t count_splits(std::string_view merged, const TextIndex& ids) {
  size_t n = 0;
  for (size_t at = decode_utf8(merged, 0).length; at < merged.size(); at += decode_utf8(merged, at).length)
    n += ids.contains(merged.substr(0, at)) && ids.contains(merged.substr(at)) ? 1 : 0;
  return n;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// One kind of tokens, token by token: the earlier, the better.
class ScoreList {
 public:
  struct Merge {
    int32_t left, right, merged;   // ids
    size_t left_size, right_size;  // characters
    std::pair<size_t, size_t> bytes{};
  };
  ScoreList(TokenizerData& data, float first) : data_(data), splits_(data.tokens.size(), 0), score_(first) {}

  void add(const Merge& merge) {
    const auto at = static_cast<size_t>(merge.merged);
    const std::pair sizes(merge.left_size, merge.right_size);
    const std::pair parts(merge.left, merge.right);
    if (merge.merged != last_.merged) {
      is_token_by_token_ = is_token_by_token_ && splits_[at] == 0;
      data_.tokens[at].score = score_ -= 1.0f;
    } else {
      longest_left_ = longest_left_ && merge.left_size < last_.left_size;
      lowest_ids_ = lowest_ids_ && parts > std::pair(last_.left, last_.right);
    }
    if (last_.merged >= 0) {
      sizes_fall_ = sizes_fall_ && sizes <= std::pair(last_.left_size, last_.right_size);
      bytes_fall_ = bytes_fall_ && merge.bytes <= last_.bytes;
    }
    ++splits_[at];
    last_ = merge;
  }
  // All pairs by falling sizes, in characters or in bytes, whatever they make: so are tokens of one score.
  bool sizes_fall() const { return sizes_fall_ || bytes_fall_; }
  bool is_token_by_token() const { return is_token_by_token_ && (longest_left_ || lowest_ids_); }
  bool longest_left() const { return longest_left_; }
  size_t splits(size_t id) const { return splits_[id]; }
  float next_score() { return score_ -= 1.0f; }

 private:
  TokenizerData& data_;
  std::vector<size_t> splits_;  // (V)
  float score_;
  Merge last_{-1, -1, -1, 0, 0};
  bool is_token_by_token_ = true, longest_left_ = true, lowest_ids_ = true, sizes_fall_ = true, bytes_fall_ = true;
};

}  // namespace

void set_spm_scores(const std::vector<MergeList::Texts>& merges, const std::string& where, TokenizerData& data) {
  const auto refuse = [&](const std::string& which) {
    return input_error(where, "the merges are not those of a SentencePiece vocabulary",
                       "all pairs that make a token, token by token", "others for " + which);
  };
  TextIndex ids(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (!data.tokens[id].rule.unmerged) ids.insert(data.tokens[id].text, static_cast<int32_t>(id));
  ScoreList normal(data, 1.0f),
      user_defined(data, 1.0f);  // user-defined tokens come first, whatever the others' scores
  for (const auto& [left, right] : merges) {
    const int32_t merged = ids.find(left + right);
    if (merged < 0) throw input_error(where, "has a merge whose result is no token", "", printable(left + right));
    const Token& token = data.tokens[static_cast<size_t>(merged)];
    const ScoreList::Merge merge{ids.find(left),   ids.find(right),   merged,
                                 characters(left), characters(right), {left.size(), right.size()}};
    if (is_merged_first(token))
      user_defined.add(merge);
    else if (token.kind == TokenKind::Normal || token.kind == TokenKind::UserDefined)
      normal.add(merge);
  }
  if (!normal.is_token_by_token()) throw refuse("some tokens");
  if (!normal.longest_left()) data.merge_ties = MergeTies::LowestIds;
  const bool one_score = user_defined.sizes_fall();
  if (!one_score && !user_defined.is_token_by_token()) throw refuse("added tokens");
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    Token& token = data.tokens[id];
    if (is_merged_first(token) && (one_score || user_defined.splits(id) == 0)) token.score = 0.0f;
    if (token.kind != TokenKind::Normal) continue;
    if (normal.splits(id) != count_splits(token.text, ids)) throw refuse("`" + printable(token.text) + "`");
    if (normal.splits(id) == 0) token.score = normal.next_score();  // characters
  }
}

}  // namespace attar
