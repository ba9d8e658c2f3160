// Byte-level BPE: merges by rank within one piece. Source: Sennrich et al. 2016 (arXiv 1508.07909); GPT-2's byte map.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer/checked_tokens.h"
#include "runtime/formats/tokenizer/models/merge.h"
#include "runtime/formats/tokenizer/models/piece_cache.h"
#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// GPT-2's map of bytes to printable characters, and back.
std::string byte_mapped(std::string_view bytes);
// The bytes of a mapped text; text with characters outside the map comes back as it is.
std::string byte_unmapped(std::string_view text);

class BpeEncoder {
 public:
  // `texts` are the tokens' ids, of check_tokens, which `where` goes with; `token_bytes` (V) their unmapped texts,
  // which must outlive this. Error{Input}: a merge of absent tokens.
  BpeEncoder(const TokenizerData& data, const std::string& where, const TextIndex& texts, const TextList& token_bytes);
  // Bytes that the vocabulary lacks give nothing.
  void encode(std::string_view piece, std::vector<int32_t>& out) const;
  // The bytes and merges by which `piece` becomes one token; empty when they do not make it one.
  std::vector<int32_t> derivation(std::string_view piece) const;

 private:
  uint32_t* slot_of(int32_t left, int32_t right);  // where the pair's rank is, or may be put
  MergeCandidate candidate(const Symbol& left, const Symbol& right) const;
  std::vector<Symbol> symbols_of(std::string_view piece) const;

  int32_t byte_ids_[256];
  std::vector<MergeTokens> merges_;  // by rank
  std::vector<uint32_t> ranks_;      // by pair, open addressing, a power of two: UINT32_MAX where none is
  TextIndex whole_;                  // pieces that are tokens, when ignore_merges is set
  bool ignore_merges_ = false;
  PieceCache cache_;
};

}  // namespace attar
