// SentencePiece BPE: the adjacent pair whose joined text is the best-scored token is merged first, ties leftmost; what is
// no token falls back to bytes. Source: SentencePiece (bpe_model), Kudo and Richardson 2018 (arXiv 1808.06226).
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/formats/tokenizer.h"

namespace attar {

inline constexpr std::string_view kSpmSpace = "\xE2\x96\x81";  // U+2581

class SpmEncoder {
 public:
  explicit SpmEncoder(const TokenizerData& data);  // of checked data, which must outlive this
  // `text` has its spaces written as U+2581 already.
  void encode(std::string_view text, std::vector<int32_t>& out) const;

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& out) const;
  void emit(std::string_view symbol, std::vector<int32_t>& out) const;

  const TokenizerData& data_;
  std::unordered_map<std::string_view, int32_t> ids_;
  int32_t byte_ids_[256];
  bool words_are_apart_ = true;  // no token reaches over a word's end, so words can be encoded one by one
};

}  // namespace attar
