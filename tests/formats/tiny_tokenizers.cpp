#include "tests/formats/tiny_tokenizers.h"

#include <cstdio>

#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/models/spm.h"

namespace attar {

MergeTexts texts_of(const MergeList& merges) {
  MergeTexts texts;
  for (const auto& [left, right] : merges) texts.emplace_back(left, right);
  return texts;
}

TokenizerData byte_level(const std::vector<MergeList::Texts>& merges) {
  TokenizerData data;
  data.tokens.push_back({"<|end|>", 0.0f, TokenKind::Control});
  data.bos = data.eos = 0;
  for (int b = 0; b < 256; ++b) data.tokens.push_back({byte_mapped(std::string(1, static_cast<char>(b)))});
  for (const auto& [left, right] : merges) {
    data.merges.push_back({byte_mapped(left), byte_mapped(right)});
    data.tokens.push_back({byte_mapped(left + right)});
  }
  return data;
}

TokenizerData sentence_pieces(const std::vector<std::string>& texts) {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  data.pre = "default";
  data.tokens = {
      {"<unk>", 0.0f, TokenKind::Unknown}, {"<s>", 0.0f, TokenKind::Control}, {"</s>", 0.0f, TokenKind::Control}};
  char name[8];
  for (int b = 0; b < 256; ++b) {
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    data.tokens.push_back({name, 0.0f, TokenKind::Byte});
  }
  for (const std::string& text : texts)
    data.tokens.push_back({spm_escaped(text), -1.0f - static_cast<float>(data.tokens.size())});
  data.unknown = 0, data.bos = 1, data.eos = 2;
  data.add_bos = data.add_space_prefix = true;
  return data;
}

}  // namespace attar
