// SentencePiece BPE: the adjacent pair whose joined text is the best-scored token is merged first; what is no token
// falls back to bytes. Source: SentencePiece (bpe_model), Kudo and Richardson 2018 (arXiv 1808.06226).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer/models/merge.h"
#include "runtime/formats/tokenizer/models/piece_cache.h"
#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

inline constexpr std::string_view kSpmSpace = "\xE2\x96\x81";  // U+2581

// The byte of a token <0x00> to <0xFF>, or -1.
int byte_of_token(std::string_view text);
// Every space as U+2581, and back.
std::string spm_escaped(std::string_view text);
void append_spm_escaped(std::string& out, std::string_view text);
std::string spm_unescaped(std::string_view text);

// User-defined tokens are merged before all others, but for those that only stand as words of their own: inside a word
// they are pieces like the rest.
inline bool is_merged_first(const Token& token) {
  return token.kind == TokenKind::UserDefined && !token.rule.single_word;
}

class SpmEncoder {
 public:
  explicit SpmEncoder(const TokenizerData& data);  // of checked data, which must outlive this
  // `text` has its spaces written as U+2581 already.
  void encode(std::string_view text, std::vector<int32_t>& out) const;
  // The characters and merges by which `text` becomes one token; empty when they do not make it one.
  std::vector<int32_t> derivation(std::string_view text) const;

 private:
  void add_text(std::string_view text, int32_t id);
  MergeCandidate candidate(std::string_view piece, const Symbol& left, const Symbol& right) const;
  std::vector<Symbol> symbols_of(std::string_view piece) const;
  // `first_id`: where the ids of this text begin in `out`; neighbouring unknown characters are one unknown token.
  void encode_piece(std::string_view piece, size_t first_id, std::vector<int32_t>& out) const;
  void emit(std::string_view piece, const Symbol& symbol, size_t first_id, std::vector<int32_t>& out) const;
  // Whether some token may hold the two characters side by side. Text is cut where none does: merges never cross there.
  bool may_join(uint32_t left, uint32_t right) const;

  TextIndex ids_;
  std::vector<uint32_t> order_;  // (V) by falling score; equal scores, equal order
  int32_t byte_ids_[256];
  bool has_all_bytes_ = true;
  int32_t unknown_;
  bool fuse_unknown_;
  MergeTies merge_ties_;
  std::vector<uint64_t> neighbours_;  // bits by the hash of two characters
  PieceCache cache_;
};

}  // namespace attar
